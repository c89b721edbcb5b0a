"""Backpropagation written out, over NumPy arrays, to be read top to bottom. Imports nothing until it is asked for.

Read, in this order: `layer` (what a layer owes its neighbours), `linear`, `activations`, `losses` (where the gradient
begins), `network` (the chain), `sgd`, `gradient_check` (is it right?); then `windows`, `convolution`, `pooling`,
`normalisation`, `dropout`, `recurrent`, `attention`; and `architectures`, `learner`, `recipes` put them to work.
"""

from gradus.lazy import attach

__all__ = [
    "GELU", "GRU", "LSTM", "RNN", "SGD", "Attention", "AveragePool", "Backpropagation", "BatchNorm", "Convolution",
    "Dropout", "Flatten", "Layer", "LayerNorm", "LeakyReLU", "Linear", "MaxPool", "MeanSquaredError", "Mirror",
    "Network", "NetworkClassifier", "ReLU", "Report", "Sigmoid", "Softmax", "SoftmaxCrossEntropy", "Standardise",
    "Swish", "Tanh", "Window", "causal_mask", "check_gradients", "check_layer", "numeric_gradient", "toeplitz",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "activations": ("GELU", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Swish", "Tanh"),
        "attention": ("Attention", "causal_mask"),
        "classifier": ("NetworkClassifier",),
        "convolution": ("Convolution", "toeplitz"),
        "dropout": ("Dropout",),
        "gradient_check": ("Report", "check_gradients", "check_layer", "numeric_gradient"),
        "layer": ("Layer",),
        "learner": ("Backpropagation",),
        "linear": ("Flatten", "Linear"),
        "losses": ("MeanSquaredError", "SoftmaxCrossEntropy"),
        "mirror": ("Mirror",),
        "network": ("Network",),
        "normalisation": ("BatchNorm", "LayerNorm", "Standardise"),
        "pooling": ("AveragePool", "MaxPool"),
        "recurrent": ("GRU", "LSTM", "RNN"),
        "sgd": ("SGD",),
        "windows": ("Window",),
    },
)
