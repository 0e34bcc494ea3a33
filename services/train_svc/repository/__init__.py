"""All SQL of train_svc: functions that take a session and leave the commit to the caller."""
