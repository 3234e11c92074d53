import koffi, { type LibraryHandle } from 'koffi';

export const libc = koffi.load(null);

type Call = (...args: unknown[]) => unknown;

/** libc with other functions where `replace` gives some for a declaration. */
export function libcWith(replace: (declaration: string) => Call | undefined): LibraryHandle {
  const func = (declaration: string) => replace(declaration) ?? libc.func(declaration);
  return { func } as unknown as LibraryHandle;
}
