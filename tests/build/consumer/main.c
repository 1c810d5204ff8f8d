/* A program of somebody else: uses what it found and checks one number. */
#include <bnfloss.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    float logits[4] = { 2, 2, 2, 2 };
    const int32_t label = 1;
    unsigned char work[1024];
    uint64_t bytes = 0;
    bnfloss_layout layout = {
        .struct_size = sizeof layout, .rows = 1, .vocab = 4 };
    bnfloss_result result = { .struct_size = sizeof result };
    bnfloss_spec spec;
    bnfloss_status status;

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    status = bnfloss_workspace(&layout, &spec, 0, 0, &bytes);
    if (status == BNFLOSS_OK && bytes <= sizeof work)
        status = bnfloss_run(&layout, &spec, NULL, logits, &label, logits,
                             NULL, work, sizeof work, 0, &result);
    printf("bnfloss %s: %s, loss %.4f, gradient %.2f %.2f\n",
           bnfloss_version(), bnfloss_status_string(status), result.loss,
           logits[0], logits[1]);
    return !(status == BNFLOSS_OK && result.loss > 1.38629
             && result.loss < 1.38630 && logits[0] == 0.25f
             && logits[1] == -0.75f
             && strcmp(bnfloss_version(), BNFLOSS_VERSION) == 0);
}
