import { describe, expect, it } from 'vitest';
import { schemaInfo } from '../../../../protocol/qmp/introspection.ts';
import { COMMANDS, EVENTS } from '../../../../protocol/qmp/schema.ts';

const schema = schemaInfo();
const types = new Map(
  schema
    .filter((info) => info['meta-type'] !== 'command' && info['meta-type'] !== 'event')
    .map((info) => [info.name, info]),
);

/** Every name of a type that an entry mentions. */
function mentioned(info: object): string[] {
  return Object.entries(info).flatMap(([key, value]) => {
    if (['arg-type', 'ret-type', 'element-type', 'type'].includes(key)) return [value as string];
    return Array.isArray(value)
      ? value.flatMap((item) => (Object(item) === item ? mentioned(item) : []))
      : [];
  });
}

describe('query-qmp-schema', () => {
  it('has every command and event once', () => {
    const names = (kind: string) =>
      schema.filter((x) => x['meta-type'] === kind).map((x) => x.name);
    expect(names('command').sort()).toEqual(Object.keys(COMMANDS).sort());
    expect(names('event').sort()).toEqual(Object.keys(EVENTS).sort());
  });

  it('describes every type that it mentions', () => {
    for (const info of schema) {
      for (const name of mentioned(info))
        expect(types.has(name), `${info.name}: ${name}`).toBe(true);
    }
  });

  it('mentions every type that it describes', () => {
    const used = new Set(schema.flatMap(mentioned));
    for (const name of types.keys()) expect(used.has(name), name).toBe(true);
  });

  it('says what a client looks for', () => {
    const mirror = schema.find((info) => info.name === 'blockdev-mirror')!;
    const { members } = types.get(mirror['arg-type'] as string) as unknown as { members: object[] };
    expect(members).toContainEqual({ name: 'device', type: 'str' });
    const bitmap = { name: 'bitmap', default: null, type: 'str', features: ['unstable'] };
    expect(members).toContainEqual(bitmap);
    expect(types.get('BlockdevOptions')).toMatchObject({ tag: 'driver' });
    expect(types.get('BlockdevRef')).toEqual({
      name: 'BlockdevRef',
      'meta-type': 'alternate',
      members: [{ type: 'str' }, { type: 'BlockdevOptions' }],
    });
    expect(types.get('MirrorCopyMode')).toMatchObject({ values: ['background', 'write-blocking'] });
  });

  it('says of everything whose name begins with x- that it is unstable', () => {
    const unstable = expect.objectContaining({ features: ['unstable'] });
    const sha256 = schema.find((info) => info.name === 'x-debug-block-dirty-bitmap-sha256');
    expect(sha256).toEqual(unstable);
    const named = schema.flatMap(({ members }) => (members ?? []) as { name?: string }[]);
    const experimental = named.filter(({ name }) => name?.startsWith('x-'));
    expect(experimental.length).toBeGreaterThan(5);
    for (const member of experimental) expect(member).toEqual(unstable);
    const stable = { name: 'device', type: 'str' };
    expect(named).toContainEqual(stable);
  });

  it('fits the 64 KiB that a line scanner of a client takes', () => {
    expect(JSON.stringify(schema).length).toBeLessThan(48 * 1024);
  });
});
