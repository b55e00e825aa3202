"""What the commands of the command line share: their options, and how a run begins and ends."""
