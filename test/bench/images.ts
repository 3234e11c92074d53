/**
 * Source disks: made once a run, on a real file system, and in the page cache when they are used.
 */
import { randomFillSync } from 'node:crypto';
import { writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Scope } from '../support/process.ts';

export const MiB = 1024 * 1024;
export const GiB = 1024 * MiB;
const PAGE_BYTES = 4096;
export const SPARSE_DATA_BYTES = 112 * MiB;

export class Images {
  readonly #scope: Scope;
  readonly #paths = new Map<string, Promise<string>>();

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** `size` bytes of random data. */
  random(size: number): Promise<string> {
    return this.#once(`random-${size}`, async (file) => {
      for (let offset = 0; offset < size; offset += MiB) writeRandom(file, offset, MiB);
    });
  }

  /**
   * The same for small random writes. What is written by the page is cached by the page; in the
   * large folios of a file written by the megabyte, ext4 spends so long on each small write that
   * every server looks alike.
   */
  randomByPage(size: number): Promise<string> {
    return this.#once(`random-by-page-${size}`, async (file) => {
      for (let offset = 0; offset < size; offset += MiB) writeRandom(file, offset, PAGE_BYTES);
    });
  }

  /**
   * `size` bytes with 112 MiB of random data in pieces of 1 MiB, evenly strewn, and holes. Each
   * `edition` has other data in the same places.
   */
  sparse(size: number, edition = 'first'): Promise<string> {
    const stride = Math.floor(size / SPARSE_DATA_BYTES) * MiB;
    return this.#once(`sparse-${size}-${edition}`, async (file) => {
      await file.truncate(size);
      for (let at = 0; at < SPARSE_DATA_BYTES; at += MiB) {
        writeRandom(file, (at / MiB) * stride, MiB);
      }
    });
  }

  /** `size` bytes of holes, with a page of random data every 256 KiB. */
  strewn(size: number): Promise<string> {
    return this.#once(`strewn-${size}`, async (file) => {
      await file.truncate(size);
      const page = Buffer.allocUnsafe(PAGE_BYTES);
      for (let at = 0; at < size; at += MiB / 4) {
        writeSync(file.fd, randomFillSync(page), 0, PAGE_BYTES, at);
      }
    });
  }

  #once(name: string, fill: (file: FileHandle) => Promise<void>): Promise<string> {
    let made = this.#paths.get(name);
    if (made === undefined) {
      made = this.#make(name, fill);
      this.#paths.set(name, made);
    }
    return made;
  }

  async #make(name: string, fill: (file: FileHandle) => Promise<void>): Promise<string> {
    const path = join(await this.#scope.tempDir(), `${name}.raw`);
    const file = await open(path, 'wx');
    await fill(file);
    // Written back now, or the kernel does it in the middle of a measurement.
    await file.sync();
    await file.close();
    return path;
  }
}

/** 1 MiB at `offset`, in writes of `piece` bytes. */
function writeRandom(file: FileHandle, offset: number, piece: number): void {
  const data = randomFillSync(Buffer.allocUnsafe(MiB));
  for (let at = 0; at < MiB; at += piece) writeSync(file.fd, data, at, piece, offset + at);
}
