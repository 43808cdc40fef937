import torch


def rows(dtype, n):
    return (torch.randn(67 * n, 33 * n).to(dtype),)


def columns(dtype, n):
    return (torch.randn(33 * n, 67 * n).to(dtype).t(),)


EXAMPLES = {"column_sum": [rows, columns]}
