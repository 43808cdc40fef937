"""tritonnet: training whose every floating-point operation runs in a Triton kernel that its user can open."""
