"""Speech for training: utterances, characters, features, and batches of similar lengths. Loads no engine."""
