import { RefusedError } from '../util/errors.ts';
import { FileNode } from './file-node.ts';
import type { BlockGraph, NodeUse } from './graph.ts';
import type { BlockNode } from './node.ts';
import { type NodeHost, type NodeOptions, spaceOf, throttleGroup } from './open-node.ts';
import { ThrottleNode } from './throttle-node.ts';

/**
 * What `blockdev-reopen` can change of an open node: whether it may be written to, what becomes of
 * discards and zeroes, what of a file's flushes, the group of a throttle node. Every change happens
 * at once and can be taken back at once, so that a list of them is all or nothing.
 */
const CHANGEABLE = new Set([
  'node-name',
  'file',
  'aio',
  'read-only',
  'auto-read-only',
  'discard',
  'detect-zeroes',
  'throttle-group',
  'cache.no-flush',
]);
/** What an absent option means, where that is a value. */
const DEFAULTS: Readonly<Record<string, unknown>> = { 'cache.direct': false, offset: 0 };

/** Throws where an option differs that an open node keeps. */
export function checkUnchanged(before: NodeOptions, after: NodeOptions): void {
  const was = flatten(before);
  const will = flatten(after);
  for (const key of new Set(['driver', ...will.keys(), ...was.keys()])) {
    const value = will.get(key) ?? DEFAULTS[key];
    if (CHANGEABLE.has(key) || value === (was.get(key) ?? DEFAULTS[key])) continue;
    throw new RefusedError(
      value === undefined
        ? `Option '${key}' cannot be reset to its default value`
        : `Cannot change the option '${key}'`,
    );
  }
}

/** Changes the node now; returns how to take that back. */
export function applyOptions(
  node: BlockNode,
  before: NodeOptions,
  after: NodeOptions,
  host: NodeHost,
): () => void {
  const space = spaceOf(after);
  const { readOnly, space: spaceBefore } = node;
  setReadOnly(node, after);
  node.space = space;
  const back = () => {
    node.space = spaceBefore;
    // A node on top is read-only also because of what is below: what it is itself its options say.
    if (node.child === undefined) node.setReadOnly(readOnly);
    else setReadOnly(node, before);
  };
  if (node instanceof FileNode) {
    const { noFlush } = node;
    node.noFlush = after.cache?.['no-flush'] ?? false;
    return () => {
      back();
      node.noFlush = noFlush;
    };
  }
  if (!(node instanceof ThrottleNode) || after.driver !== 'throttle') return back;
  const { group } = node;
  try {
    node.moveTo(throttleGroup(after, host));
  } catch (error) {
    back();
    throw error;
  }
  return () => {
    back();
    node.moveTo(group);
  };
}

function setReadOnly(node: BlockNode, options: NodeOptions): void {
  try {
    node.setReadOnly(options['read-only'] ?? false);
  } catch (error) {
    if (!options['auto-read-only']) throw error;
  }
}

/** Throws when the node is read-only now and somebody writes to it, through whatever nodes. */
export function checkWriters(graph: BlockGraph, node: BlockNode): void {
  if (!node.readOnly || !isWritten(graph, node)) return;
  throw new RefusedError(`Read-only block node '${node.name}' cannot support read-write users`);
}

export function isWritten(graph: BlockGraph, node: BlockNode): boolean {
  return graph.usersOf(node).some((use) => writes(graph, use));
}

/** A node on top writes when somebody writes to that. */
export function writes(graph: BlockGraph, use: NodeUse): boolean {
  const parent = graph.parentBy(use);
  return parent === undefined ? use.writable : isWritten(graph, parent);
}

/** `cache.direct` for what is nested; what the child's options are is the child's matter. */
function flatten(options: object, prefix = ''): Map<string, unknown> {
  const flat = new Map<string, unknown>();
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || (prefix === '' && key === 'file')) continue;
    if (typeof value !== 'object' || value === null) flat.set(prefix + key, value);
    else for (const [inner, part] of flatten(value, `${prefix}${key}.`)) flat.set(inner, part);
  }
  return flat;
}
