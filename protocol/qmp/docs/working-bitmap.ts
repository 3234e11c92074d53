/** What everybody who passes a bitmap to a mirror must know; Markdown. */
export const BITMAP_PITFALL = `#### The pitfall of working bitmaps

A mirror with a bitmap believes that target and source are equal wherever the bitmap is clean. A
target that was never synced, and is to hold the changes alone (a *diff image*: a fresh image whose
base image is attached to it later), is not equal there: it is empty. Two things then do harm, and
no check can find them for sure, because NBD does not tell the size of a server's clusters:

* *Granules smaller than the clusters of the target.* A copy writes a part of a cluster; the image
  allocates all of it and fills the rest with zeroes. When the base image is attached, the rest of
  that cluster hides what the base has there.
* *Unaligned client writes in write-blocking mode.* They go to the target as they are, so they do
  the same even when granules are as large as clusters.

So for a diff image either

* say the size of the clusters: \`x-target-cluster-size\`. Whatever is written to the target is then
  whole clusters, in both modes and with any granularity; what is around a client write is read from
  the source. A small synchronous write costs a cluster read and a cluster sent; or
* give the bitmap a granularity of at least the cluster size (\`granularity\` of
  \`block-dirty-bitmap-add\`; 65536 fits qcow2 as it is made by default) and use
  \`copy-mode: background\`. What is written is whole granules then (of granules above 2 MiB, the
  largest clusters of qcow2, whole parts of 2 MiB).

Some of it can be seen coming: a job without \`x-target-cluster-size\` whose target has holes or
prefers blocks larger than the granules, or that copies client writes as they are, says so in
\`x-warnings\` of \`query-block-jobs\` and in the log.

Zeroes are always written. A target that has been a full copy once, or that has its base attached
while it is written to, is safe in any case: what is around a write is already right there.

#### Which bitmap to pass

A bitmap \`B\` that should know, after the mirror, what the target still lacks can be kept in three
ways. \`W\` is a second bitmap that exists for the mirror only.

| \`B\` is brought up to date | before the mirror | after it |
| --- | --- | --- |
| *always*: also by a mirror that failed | nothing: pass \`B\` itself | nothing |
| *never* | make \`W\`, and pass it | remove \`W\` |
| *on success* | make \`W\`, and pass it | if it succeeded: \`B\` becomes \`W\`; remove \`W\` |

`;
