import type { OBJECT_COMMANDS } from '../../../protocol/qmp/schema/objects.ts';
import type { Handlers } from '../handlers.ts';
import type { ObjectStore } from '../object-store.ts';

/** Objects that nodes refer to. */
export function objectCommands(objects: ObjectStore): Handlers<keyof typeof OBJECT_COMMANDS> {
  return {
    'object-add': (options) => {
      objects.add(options);
    },
    'object-del': ({ id }) => {
      objects.remove(id);
    },
  };
}
