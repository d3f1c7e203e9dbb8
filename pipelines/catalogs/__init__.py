"""Where readers are told which files of a partition count: files, Glue, Hive."""
