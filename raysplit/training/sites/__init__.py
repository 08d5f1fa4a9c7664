"""Site groups: the batch of a topology whose parties one host plays, one topology a file."""
