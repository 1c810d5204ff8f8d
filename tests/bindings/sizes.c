/* Prints the size of every struct, for bindings to compare theirs with. */
#include "bnfloss.h"

#include <stdio.h>

int main(void)
{
    printf("layout %d\nspec %d\ninputs %d\nrow %d\noutputs %d\nresult %d\n"
           "shifts %d\n",
           (int)sizeof(bnfloss_layout), (int)sizeof(bnfloss_spec),
           (int)sizeof(bnfloss_inputs), (int)sizeof(bnfloss_row),
           (int)sizeof(bnfloss_outputs), (int)sizeof(bnfloss_result),
           (int)sizeof(bnfloss_shifts));
    return 0;
}
