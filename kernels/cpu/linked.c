/* The functions of linked.h. */
#include "runtime.h"

#include "tile.h"

#include "dot.h"

#include "dot_bf16.h"
