"""What honest parties do to their messages so that these tell less: of inputs, of labels."""
