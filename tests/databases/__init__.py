"""torch's own databases of modules and functions drive these tests: whatever tritonnet offers of them is held to them.

torch describes each module of torch.nn (`module_db`) and each function (`op_db`) by constructor arguments, inputs and
errors, with which it tests itself. The tests walk both, pick what tritonnet.nn and tritonnet.functional offer under
torch's names, and compare outputs, gradients, gradients of gradients, state dicts and kinds of error. So a new layer is
covered as soon as its name is offered. Messages of errors differ from torch's: an error has to be of torch's class.

[exclusions.py](exclusions.py) lists what tritonnet leaves out; an exclusion that is not needed fails.
"""
