import { assert } from '../util/assert.ts';
import { RefusedError } from '../util/errors.ts';
import { isWellFormedId } from '../util/identifier.ts';
import { chainOf, sharedNode } from './chain.ts';
import type { BlockNode } from './node.ts';

/** QEMU keeps names in 32 bytes. */
const NAME_LENGTH_MAX = 31;

/** Who uses a node: an export or a job, or a node that stands on it. */
export interface NodeUser {
  readonly kind: 'export' | 'job' | 'node';
  readonly name: string;
}

/**
 * The named nodes and who uses them. A *use* is an edge from a user to a node; it is what moves
 * when a filter is put in between or a mirror pivots, so a user reads `use.node` anew for each
 * request and never keeps the node itself.
 */
export interface NodeUse {
  /** The node that the user talks to now. */
  readonly node: BlockNode;
  readonly user: NodeUser;
  /** Changes when the user is reopened. */
  writable: boolean;
  /** Ends the use. */
  release(): void;
}

class Use implements NodeUse {
  node: BlockNode;
  readonly user: NodeUser;
  writable: boolean;
  readonly #uses: Set<Use>;

  constructor(uses: Set<Use>, node: BlockNode, user: NodeUser, writable: boolean) {
    this.#uses = uses;
    this.node = node;
    this.user = user;
    this.writable = writable;
    uses.add(this);
  }

  release(): void {
    this.#uses.delete(this);
  }
}

/**
 * Why a node must be left alone, in QEMU's words: `block device is in use by block job: mirror`.
 */
export interface Blocker {
  readonly node: BlockNode;
  readonly reason: string;
  /** Who may not come: who would write, or anybody at all. */
  readonly keepsOut: 'writers' | 'everybody';
}

export class BlockGraph {
  readonly #nodes = new Map<string, BlockNode>();
  readonly #uses = new Set<Use>();
  readonly #blockers = new Set<Blocker>();
  /** Nodes that were put on others with `insertFilter`, and why nobody may write past them. */
  readonly #filters = new Map<BlockNode, string>();
  #nextName = 0;

  /** Nodes in the order in which they were added. */
  nodes(): readonly BlockNode[] {
    return [...this.#nodes.values()];
  }

  find(name: string): BlockNode | undefined {
    return this.#nodes.get(name);
  }

  /** Refuses a name that a new node cannot have, as QEMU does. */
  assertNameFree(name: string): void {
    if (!isWellFormedId(name)) throw new RefusedError(`Invalid node-name: '${name}'`);
    if (this.#nodes.has(name)) {
      throw new RefusedError(`Duplicate nodes with node-name='${name}'`);
    }
    if (name.length > NAME_LENGTH_MAX) throw new RefusedError('Node name too long');
  }

  /** The caller has seen to it that the name is free. */
  add(node: BlockNode): void {
    assert(!this.#nodes.has(node.name), `node name ${node.name} is free`);
    this.#nodes.set(node.name, node);
  }

  /** Takes the node out of the graph; the caller closes it. */
  remove(node: BlockNode): void {
    assert(this.#nodes.get(node.name) === node, 'the node is in the graph');
    assert(this.usersOf(node).length === 0, `nobody uses ${node.name}`);
    this.#nodes.delete(node.name);
    this.#filters.delete(node);
  }

  /** A free node name of the form QEMU uses for anonymous nodes: `#block123`. */
  generateName(): string {
    for (;;) {
      const name = `#block${String(this.#nextName++).padStart(3, '0')}`;
      if (!this.#nodes.has(name)) return name;
    }
  }

  /**
   * A use of the node, through whatever filters sit on it: an export that is added to a disk while
   * it is mirrored must not write behind the mirror's back.
   */
  use(node: BlockNode, user: NodeUser, options: { writable: boolean }): NodeUse {
    return new Use(this.#uses, this.#topOf(node), user, options.writable);
  }

  /** A filter's use of the node that it will sit on. */
  useForFilter(node: BlockNode, filterName: string): NodeUse {
    return new Use(this.#uses, node, { kind: 'node', name: filterName }, true);
  }

  #filterOn(node: BlockNode): BlockNode | undefined {
    return [...this.#filters.keys()].find(({ child }) => child === node);
  }

  #topOf(node: BlockNode): BlockNode {
    const filter = this.#filterOn(node);
    return filter === undefined ? node : this.#topOf(filter);
  }

  usersOf(node: BlockNode): readonly NodeUse[] {
    return [...this.#uses].filter((use) => use.node === node);
  }

  /**
   * The node that stands on another by this use of it. Not one that is being opened, nor a filter
   * that has left, whose last writes still use the node: their uses alone are known.
   */
  parentBy({ user, node }: NodeUse): BlockNode | undefined {
    const parent = user.kind === 'node' ? this.find(user.name) : undefined;
    return parent?.child === node ? parent : undefined;
  }

  /** The nodes that stand on this one. */
  parentsOf(node: BlockNode): readonly BlockNode[] {
    return this.usersOf(node).flatMap((use) => this.parentBy(use) ?? []);
  }

  /**
   * Puts `filter`, which uses its child by `own`, between that and everybody else who uses it. It
   * is to see all that is written: `reason` keeps those away who would write below it.
   */
  insertFilter(filter: BlockNode, own: NodeUse, reason: string): void {
    assert(filter.child === own.node, 'the filter sits on the node');
    this.add(filter);
    this.#filters.set(filter, reason);
    this.replace(own.node, filter, own);
  }

  /** Points every use of `from` at `to`, except one. */
  replace(from: BlockNode, to: BlockNode, except?: NodeUse): void {
    for (const use of this.#uses) if (use.node === from && use !== except) use.node = to;
  }

  /** A filter has come to sit on the node: who uses that beside it does so through the filter. */
  useThroughFilter(node: BlockNode): void {
    const filter = this.#filterOn(node);
    if (filter === undefined) return;
    const own = this.usersOf(node).find((use) => this.parentBy(use) === filter);
    this.replace(node, filter, own);
  }

  /** Refuses new users, other jobs and removal for a node until the returned function is called. */
  block(node: BlockNode, reason: string, keepsOut: Blocker['keepsOut']): () => void {
    const blocker = { node, reason, keepsOut };
    this.#blockers.add(blocker);
    return () => this.#blockers.delete(blocker);
  }

  isBlocked(node: BlockNode): boolean {
    return [...this.#blockers].some((blocker) => blocker.node === node);
  }

  /** Throws `RefusedError` when the node has to stay as it is. */
  assertChangeable(node: BlockNode): void {
    for (const blocker of this.#blockers) if (blocker.node === node) throw busy(blocker);
    for (const [filter, reason] of this.#filters) {
      if (node === filter || node === filter.child) throw busy({ node, reason });
    }
  }

  /**
   * Throws `RefusedError` when somebody who would write to the node, or only read it, may not. Who
   * writes to a node writes to those below it.
   */
  assertNotBlocked(node: BlockNode, { writable }: { writable: boolean }): void {
    for (const blocker of this.#blockers) {
      const meets = writable
        ? chainOf(node).some((one) => chainOf(blocker.node).includes(one))
        : blocker.node === node && blocker.keepsOut === 'everybody';
      if (meets) throw busy(blocker);
    }
  }

  /**
   * Throws `RefusedError` when writes of a new user of the node (an export, a job) would reach what
   * a filter is to see, and not pass it.
   */
  assertSeen(node: BlockNode): void {
    const top = this.#topOf(node);
    const way = chainOf(top);
    for (const [{ child: source }, reason] of this.#filters) {
      if (source === undefined || way.includes(source)) continue;
      const shared = sharedNode(top, source);
      if (shared !== undefined) throw busy({ node: shared, reason });
    }
  }
}

function busy({ node, reason }: Pick<Blocker, 'node' | 'reason'>): RefusedError {
  return new RefusedError(`Node '${node.name}' is busy: ${reason}`);
}
