"""What PixelDP's ε is about, in the words that stand wherever it does."""

PROTECTS = (
    "a prediction, against changes of its own input; it says nothing about training samples and does not add up with "
    "DP-SGD's epsilon"
)
