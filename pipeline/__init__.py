"""The top floor: the stages of a run and the commands, each over the packages below."""
