import torch

from . import call


def rows(dtype, n):
    return (torch.randn(67 * n, 33 * n).to(dtype),)


def columns(dtype, n):
    return call(torch.randn(33 * n, 67 * n).to(dtype).t(), out_dtype=torch.float32)


def many_rows(dtype, n):
    return (torch.randn(2, 700 * n, 12).to(dtype)[:, 1:],)


EXAMPLES = {"column_sum": [rows, columns, many_rows]}
