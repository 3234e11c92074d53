import { RefusedError } from '../util/errors.ts';
import { isWellFormedId } from '../util/identifier.ts';
import type { BlockGraph, NodeUse } from './graph.ts';
import type { BlockNode } from './node.ts';
import { type NodeHost, type NodeOptions, openNode } from './open-node.ts';

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

/** QEMU keeps names in 32 bytes. */
const NAME_LENGTH_MAX = 31;

export class NodeStore {
  readonly #graph: BlockGraph;
  readonly #host: NodeHost;
  readonly #entries = new Map<BlockNode, Entry>();
  /** Names of nodes that are being opened: nobody else may take them. */
  readonly #opening = new Set<string>();

  constructor(graph: BlockGraph, host: NodeHost) {
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

  /** Closes a node that nobody uses, and the children that came with it. */
  async remove(name: string): Promise<void> {
    const node = this.#graph.find(name);
    if (node === undefined) throw new RefusedError(`Failed to find node with node-name='${name}'`);
    const users = this.#graph.usersOf(node);
    if (users.some(({ user }) => !isNode(user))) throw new RefusedError(`Node ${name} is in use`);
    const reason = this.#graph.blockerOf(node);
    if (reason !== undefined) throw new RefusedError(`Node '${name}' is busy: ${reason}`);
    if (this.#entries.get(node)?.owned !== true) {
      throw new RefusedError(`Node ${name} is not owned by the monitor`);
    }
    if (users.length > 0) throw new RefusedError(`Block device ${name} is in use`);
    await this.#close(node);
  }

  /** The end of the process: closes everything, parents first. Nobody uses any of it any more. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (let unused = this.#unused(); unused.length > 0; unused = this.#unused()) {
      for (const node of unused) {
        // The others are closed all the same; then the first failure is told.
        await this.#close(node).catch((error: unknown) => failures.push(error));
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  #unused(): readonly BlockNode[] {
    return [...this.#entries.keys()].filter((node) => this.#graph.usersOf(node).length === 0);
  }

  async #open(options: NodeOptions, owned: boolean): Promise<BlockNode> {
    const name = this.#reserve(options['node-name']);
    const children: BlockNode[] = [];
    try {
      const node = await openNode(name, options, {
        ...this.#host,
        useChild: (parent, child, writable) => this.#useChild(parent, child, writable, children),
      });
      // While it was being opened, a mirror's filter may have taken the name.
      if (this.#graph.find(name) !== undefined) {
        await node.close();
        throw new RefusedError(`Duplicate nodes with node-name='${name}'`);
      }
      this.#graph.add(node);
      this.#entries.set(node, { options, children, owned });
      return node;
    } catch (error) {
      for (const child of children) await this.#close(child);
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
      return this.#graph.use(node, `node ${parent}`, { writable });
    }
    const node = this.#graph.find(child);
    if (node === undefined) {
      throw new RefusedError(`Cannot find device='${child}' nor node-name='${child}'`);
    }
    const reason = this.#graph.blockerOf(node);
    if (writable && reason !== undefined) {
      throw new RefusedError(`Node '${child}' is busy: ${reason}`);
    }
    return this.#graph.use(node, `node ${parent}`, { writable });
  }

  #reserve(given: string | undefined): string {
    const name = given ?? this.#graph.generateName();
    if (given !== undefined && !isWellFormedId(name)) {
      throw new RefusedError(`Invalid node-name: '${name}'`);
    }
    if (this.#graph.find(name) !== undefined || this.#opening.has(name)) {
      throw new RefusedError(`Duplicate nodes with node-name='${name}'`);
    }
    if (name.length > NAME_LENGTH_MAX) throw new RefusedError('Node name too long');
    this.#opening.add(name);
    return name;
  }

  async #close(node: BlockNode): Promise<void> {
    const children = this.#entries.get(node)?.children ?? [];
    this.#entries.delete(node);
    this.#graph.remove(node);
    await node.close();
    for (const child of children) {
      // Somebody may have found it by its name meanwhile: then it stays, and is his.
      if (this.#graph.usersOf(child).length === 0) await this.#close(child);
      else this.#entries.set(child, { ...this.#entries.get(child)!, owned: true });
    }
  }
}

function isNode(user: string): boolean {
  return user.startsWith('node ');
}
