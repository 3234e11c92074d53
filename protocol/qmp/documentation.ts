import { BITMAP_DOCS } from './docs/bitmaps.ts';
import { BLOCK_DOCS } from './docs/block.ts';
import { CONTROL_DOCS } from './docs/control.ts';
import { EXPORT_DOCS } from './docs/exports.ts';
import { JOB_DOCS } from './docs/jobs.ts';
import type { Docs } from './docs/language.ts';
import { OBJECT_DOCS } from './docs/objects.ts';
import { SOCKET_DOCS } from './docs/sockets.ts';

/** What the whole schema means, a chapter each file of `schema/`, in the order of the reference. */
export const CHAPTERS: readonly Docs[] = [
  CONTROL_DOCS,
  BLOCK_DOCS,
  OBJECT_DOCS,
  BITMAP_DOCS,
  JOB_DOCS,
  EXPORT_DOCS,
  SOCKET_DOCS,
];
