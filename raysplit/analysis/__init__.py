"""What is made of ended runs and recorded updates: reports, the comparison of cuts, attacks against rules."""
