"""The multilayer perceptron and its trainer."""
