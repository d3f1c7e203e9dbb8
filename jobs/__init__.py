"""What is submitted: the command line and the jobs behind it."""
