"""Who has which data: populations of clients, their files, partitions of data sets, and who takes part in a round."""
