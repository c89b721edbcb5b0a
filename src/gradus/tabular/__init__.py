"""Tables: linear models, trees and perceptrons on CSV files. Imports torch when first used."""

from gradus.lazy import attach

__all__ = [
    "Affine",
    "Encoder",
    "LassoPath",
    "TableClassifier",
    "TableModel",
    "TableNetwork",
    "TableRegressor",
    "Tree",
    "dropout_penalty",
    "fit_encoder",
    "lasso",
    "lasso_path",
    "least_squares",
    "logistic",
    "noise_penalty",
    "perceptron",
    "ridge",
    "ridge_path",
    "softmax",
    "tree",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "decision_tree": ("Tree", "tree"),
        "encoder": ("Encoder", "fit_encoder"),
        "lasso_homotopy": ("LassoPath", "lasso_path"),
        "lasso_solvers": ("lasso",),
        "linear": ("Affine", "dropout_penalty", "least_squares", "noise_penalty", "ridge", "ridge_path"),
        "logistic_regression": ("logistic", "softmax"),
        "network": ("TableModel", "TableNetwork"),
        "product": ("TableClassifier", "TableRegressor"),
        "threshold_units": ("perceptron",),
    },
)
