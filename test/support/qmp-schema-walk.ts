/**
 * The answer to `query-qmp-schema`, walked as libvirt walks it: names and kinds, types followed by
 * their names, whatever those are.
 */
export interface Info {
  readonly name: string;
  readonly 'meta-type': string;
  readonly features?: readonly string[];
  readonly [key: string]: unknown;
}

interface MemberInfo {
  readonly name: string;
  readonly type: string;
  readonly default?: null;
  readonly features?: readonly string[];
}

interface VariantInfo {
  readonly case: string;
  readonly type: string;
}

/**
 * One line for each thing that a client may name or hear: `blockdev-mirror/arg-type/sync = full`,
 * `block-job-cancel/arg-type/force? boolean`, `block-job-pause is deprecated`. A type inside of
 * itself is followed once.
 */
export function namesIn(schema: readonly Info[]): Set<string> {
  const types = new Map(
    schema.filter((info) => !isTop(info)).map((info) => [info.name, info] as const),
  );
  const names = new Set<string>();

  const walk = (typeName: string, path: string, above: readonly string[]): void => {
    const type = types.get(typeName);
    if (type === undefined) throw new Error(`${path}: type ${typeName} is not described`);
    if (above.includes(typeName)) return;
    const inside = [...above, typeName];
    switch (type['meta-type']) {
      case 'builtin':
        names.add(`${path} ${type['json-type'] as string}`);
        return;
      case 'array':
        walk(type['element-type'] as string, `${path}[]`, inside);
        return;
      case 'enum':
        for (const { name } of type['members'] as MemberInfo[]) names.add(`${path} = ${name}`);
        return;
      case 'alternate':
        for (const member of type['members'] as MemberInfo[]) walk(member.type, path, inside);
        return;
      default:
        walkObject(type, path, inside);
    }
  };
  const walkObject = (type: Info, path: string, inside: readonly string[]): void => {
    for (const member of type['members'] as MemberInfo[]) {
      const at = `${path}/${member.name}${'default' in member ? '?' : ''}`;
      names.add(at);
      addFeatures(member, at);
      walk(member.type, at, inside);
    }
    for (const variant of (type['variants'] ?? []) as VariantInfo[]) {
      walk(variant.type, `${path}(${variant.case})`, inside);
    }
  };

  const addFeatures = (of: { readonly features?: readonly string[] }, at: string): void => {
    for (const feature of of.features ?? []) names.add(`${at} is ${feature}`);
  };

  for (const info of schema.filter(isTop)) {
    names.add(info.name);
    addFeatures(info, info.name);
    for (const key of ['arg-type', 'ret-type']) {
      if (info[key] !== undefined) walk(info[key] as string, `${info.name}/${key}`, []);
    }
    if (info['allow-oob'] === true) names.add(`${info.name} out of band`);
  }
  return names;
}

function isTop(info: Info): boolean {
  return info['meta-type'] === 'command' || info['meta-type'] === 'event';
}
