"""The data sets by name: prepared files of FEMNIST, MNIST, CIFAR-10 and others, and the user's own."""
