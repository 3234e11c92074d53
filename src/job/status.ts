/** The states of a job and what may be done in each, as data (qapi/job.json, `job.c`). */
const TRANSITIONS = {
  undefined: ['created'],
  created: ['running', 'aborting', 'null'],
  running: ['paused', 'ready', 'waiting', 'aborting'],
  paused: ['running'],
  ready: ['standby', 'waiting', 'aborting'],
  standby: ['ready'],
  waiting: ['pending', 'aborting'],
  pending: ['concluded', 'aborting'],
  aborting: ['concluded'],
  concluded: ['null'],
  null: [],
} as const satisfies Record<string, readonly string[]>;

export type JobStatus = keyof typeof TRANSITIONS;

export function isTransition(from: JobStatus, to: JobStatus): boolean {
  return (TRANSITIONS[from] as readonly JobStatus[]).includes(to);
}

const ACTIVE: readonly JobStatus[] = ['created', 'running', 'paused', 'ready', 'standby'];

const VERBS = {
  cancel: [...ACTIVE, 'waiting', 'pending'],
  pause: ACTIVE,
  resume: ACTIVE,
  'set-speed': ACTIVE,
  change: ACTIVE,
  complete: ['ready', 'standby'],
  finalize: ['pending'],
  dismiss: ['concluded'],
} as const satisfies Record<string, readonly JobStatus[]>;

export type JobVerb = keyof typeof VERBS;

export function isAllowed(verb: JobVerb, status: JobStatus): boolean {
  return (VERBS[verb] as readonly JobStatus[]).includes(status);
}
