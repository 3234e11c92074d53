import { setMaxListeners } from 'node:events';
import { assertNotBusy } from '../bitmap/usable.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import type { BlockGraph, NodeUse } from './graph.ts';
import type { BlockNode } from './node.ts';
import { childOptions, type NodeHost, type NodeOptions, openNode } from './open-node.ts';
import { applyOptions, checkUnchanged, checkWriters } from './reopen-node.ts';

/**
 * The nodes that an operator adds and removes. A child that is described inside its parent's
 * options belongs to the parent: it has a name of its own making unless it was given one, and goes
 * with the parent.
 */
interface Entry {
  readonly options: NodeOptions;
  /** Children that were opened for this node. */
  readonly children: readonly BlockNode[];
  /** Added by an operator, not for a parent. */
  readonly owned: boolean;
}

export class NodeStore {
  readonly #graph: BlockGraph;
  readonly #host: NodeHost;
  readonly #entries = new Map<BlockNode, Entry>();
  /** Nodes that are being closed: the end of the process waits for them. */
  readonly #closing = new Set<Promise<void>>();
  /** Names of nodes that are being opened: nobody else may take them. */
  readonly #opening = new Set<string>();
  readonly #noMore = new AbortController();

  constructor(graph: BlockGraph, host: NodeHost) {
    // As many as are opened at a time; Node takes more than ten for a leak.
    setMaxListeners(0, this.#noMore.signal);
    this.#graph = graph;
    this.#host = host;
  }

  /** What the node was opened with; undefined for one that was not opened here (a filter). */
  optionsOf(node: BlockNode): NodeOptions | undefined {
    return this.#entries.get(node)?.options;
  }

  /** Opens a node and all that its options describe. A refusal leaves nothing behind. */
  async add(options: NodeOptions): Promise<BlockNode> {
    if (options['node-name'] === undefined) {
      throw new RefusedError("'node-name' must be specified for the root node");
    }
    return this.#open(options, true);
  }

  /** Opens a node for a job, which lets go of it; its name is its own making if it has none. */
  open(options: NodeOptions): Promise<BlockNode> {
    return this.#open(options, false);
  }

  /**
   * Closes a node that was opened for a job or a parent. If somebody uses it by now (clients that
   * were moved to it, or who found it by its name), it stays, and is the operator's.
   */
  async letGo(node: BlockNode): Promise<void> {
    const entry = this.#entries.get(node);
    if (entry === undefined) return;
    const isUsed = this.#graph.usersOf(node).length > 0 || node.bitmaps.some(({ busy }) => busy);
    if (!isUsed) await this.#close(node);
    else this.#entries.set(node, { ...entry, owned: true });
  }

  /** Changes options of open nodes, of all or of none. */
  async reopen(list: readonly NodeOptions[]): Promise<void> {
    const wanted = new Map<BlockNode, NodeOptions>();
    for (const options of list) this.#collect(wanted, this.#toReopen(options), options);
    for (const node of wanted.keys()) {
      await node.settled();
      if (!node.readOnly) await node.flush();
    }
    // No await from here on: nobody sees a part of it.
    const undo: (() => void)[] = [];
    try {
      for (const [node, options] of wanted) {
        const before = this.#entryOf(node).options;
        checkUnchanged(before, options);
        if (node.readOnly && !(options['read-only'] ?? false)) {
          this.#graph.assertNotBlocked(node, { writable: true });
        }
        undo.push(applyOptions(node, before, options, this.#host));
      }
      for (const node of wanted.keys()) checkWriters(this.#graph, node);
    } catch (error) {
      for (const back of undo.reverse()) back();
      throw error;
    }
    for (const [node, options] of wanted) {
      this.#entries.set(node, { ...this.#entryOf(node), options });
    }
  }

  #toReopen(options: NodeOptions): BlockNode {
    const { 'node-name': name } = options;
    if (name === undefined) throw new RefusedError('node-name not specified');
    const node = this.#graph.find(name);
    if (node !== undefined) return node;
    throw new RefusedError(`Failed to find node with node-name='${name}'`);
  }

  /** The node and the child that came with it, if its options speak of that. */
  #collect(wanted: Map<BlockNode, NodeOptions>, node: BlockNode, options: NodeOptions): void {
    const { children, options: before } = this.#entryOf(node);
    checkUnchanged(before, options);
    wanted.set(node, options);
    if (!('file' in options)) return;
    const { file } = options;
    if (typeof file === 'object') {
      const [child] = children;
      if (child === undefined) throw new RefusedError("Cannot change the option 'file.driver'");
      this.#collect(wanted, child, childOptions(options) as NodeOptions);
    } else if (this.#graph.find(file) === undefined) {
      throw new RefusedError(`Cannot find device='' nor node-name='${file}'`);
    } else if (!this.#stillOn(before, children, file)) {
      throw new RefusedError("Cannot change the option 'file'");
    }
  }

  #stillOn(before: NodeOptions, children: readonly BlockNode[], file: string): boolean {
    return ('file' in before && before.file === file) || children[0]?.name === file;
  }

  #entryOf(node: BlockNode): Entry {
    const entry = this.#entries.get(node);
    if (entry !== undefined && this.#graph.find(node.name) === node) return entry;
    throw new RefusedError(`Node '${node.name}' cannot be reopened`);
  }

  /** Closes a node that nobody uses, and the children that came with it. */
  async remove(name: string): Promise<void> {
    const node = this.#graph.find(name);
    if (node === undefined) throw new RefusedError(`Failed to find node with node-name='${name}'`);
    const users = this.#graph.usersOf(node);
    if (users.some(({ user }) => user.kind !== 'node'))
      throw new RefusedError(`Node ${name} is in use`);
    this.#graph.assertChangeable(node);
    if (this.#entries.get(node)?.owned !== true) {
      throw new RefusedError(`Node ${name} is not owned by the monitor`);
    }
    if (users.length > 0) throw new RefusedError(`Block device ${name} is in use`);
    // A mirror or an export may have moved on to another node with its clients.
    for (const bitmap of node.bitmaps) assertNotBusy(bitmap);
    await this.#closeOrTell(node);
  }

  /**
   * The end of the process: closes everything, parents first, and side by side what does not stand
   * on each other, for each lost server is waited for. Nobody uses any of it any more.
   */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (let unused = this.#unused(); unused.length > 0; unused = this.#unused()) {
      // The others are closed all the same; then the first failure is told.
      const toldLater = (error: unknown) => failures.push(error);
      await Promise.all(unused.map((node) => this.#close(node).catch(toldLater)));
    }
    await Promise.all(this.#closing);
    if (failures.length > 0) throw failures[0];
  }

  /** From here on nothing comes in; what is being opened is given up. */
  stopOpening(): void {
    this.#noMore.abort();
  }

  #assertOpening(): void {
    if (this.#noMore.signal.aborted) {
      throw new RefusedError('No node is opened while the daemon is closing');
    }
  }

  #unused(): readonly BlockNode[] {
    return [...this.#entries.keys()].filter((node) => this.#graph.usersOf(node).length === 0);
  }

  async #open(options: NodeOptions, owned: boolean): Promise<BlockNode> {
    this.#assertOpening();
    const { 'node-name': given } = options;
    const name = this.#reserve(given);
    const children: BlockNode[] = [];
    try {
      const node = await openNode(name, options, {
        ...this.#host,
        signal: this.#noMore.signal,
        useChild: (parent, child, writable) => this.#useChild(parent, child, writable, children),
      });
      try {
        // While it was being opened, a mirror's filter may have taken the name.
        if (given !== undefined) this.#graph.assertNameFree(name);
        this.#assertOpening();
      } catch (error) {
        await node.close();
        throw error;
      }
      this.#graph.add(node);
      this.#entries.set(node, { options, children, owned });
      return node;
    } catch (error) {
      for (const child of children) await this.#closeOrTell(child);
      throw error;
    } finally {
      this.#opening.delete(name);
    }
  }

  async #useChild(
    parent: string,
    child: NodeOptions | string,
    writable: boolean,
    children: BlockNode[],
  ): Promise<NodeUse> {
    if (typeof child !== 'string') {
      const node = await this.#open(child, false);
      children.push(node);
      return this.#graph.use(node, { kind: 'node', name: parent }, { writable });
    }
    const node = this.#graph.find(child);
    if (node === undefined) {
      throw new RefusedError(`Cannot find device='${child}' nor node-name='${child}'`);
    }
    this.#graph.assertNotBlocked(node, { writable });
    return this.#graph.use(node, { kind: 'node', name: parent }, { writable });
  }

  #reserve(given: string | undefined): string {
    const name = given ?? this.#graph.generateName();
    if (given !== undefined) this.#graph.assertNameFree(name);
    if (this.#opening.has(name)) {
      throw new RefusedError(`Duplicate nodes with node-name='${name}'`);
    }
    this.#opening.add(name);
    return name;
  }

  /** That what is left of it could not be flushed keeps no node: it is gone (as in QEMU). */
  async #closeOrTell(node: BlockNode): Promise<void> {
    try {
      await this.#close(node);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      const what = { node: node.name, reason: error.message };
      this.#host.log.error(what, 'a closed node could not be flushed');
    }
  }

  async #close(node: BlockNode): Promise<void> {
    const closed = this.#closeWithChildren(node);
    this.#closing.add(closed);
    await closed.finally(() => this.#closing.delete(closed));
  }

  async #closeWithChildren(node: BlockNode): Promise<void> {
    const children = this.#entries.get(node)?.children ?? [];
    this.#entries.delete(node);
    this.#graph.remove(node);
    await node.close();
    for (const child of children) await this.letGo(child);
  }
}
