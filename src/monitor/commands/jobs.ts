import type { JOB_COMMANDS } from '../../../protocol/qmp/schema/jobs.ts';
import type { Qmp } from '../../../protocol/qmp/schema.ts';
import type { Job } from '../../job/job.ts';
import { MirrorJob } from '../../job/mirror-job.ts';
import type { JobRegistry } from '../../job/registry.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';

/** Steering and watching jobs. The old and the new family differ in names and in one error. */
type JobName = Exclude<keyof typeof JOB_COMMANDS, 'blockdev-mirror' | 'drive-mirror'>;

export function jobCommands(jobs: JobRegistry): Handlers<JobName> {
  const job = (id: string): Job => {
    const found = jobs.find(id);
    if (found === undefined) throw new RefusedError('Job not found');
    return found;
  };
  const blockJob = (id: string): Job => {
    const found = jobs.find(id);
    if (found !== undefined) return found;
    throw new RefusedError(`Block job '${id}' not found`, 'DeviceNotActive');
  };
  return {
    'job-pause': ({ id }) => {
      job(id).pause();
    },
    'job-resume': ({ id }) => {
      job(id).resume();
    },
    'job-complete': ({ id }) => {
      job(id).complete();
    },
    'job-cancel': ({ id }) => {
      job(id).cancel({ force: true });
    },
    'job-finalize': ({ id }) => {
      job(id).finalize();
    },
    'job-dismiss': ({ id }) => {
      job(id).dismiss();
    },
    'query-jobs': () => jobs.list().map(describeJob),
    'block-job-pause': ({ device }) => {
      blockJob(device).pause();
    },
    'block-job-resume': ({ device }) => {
      blockJob(device).resume();
    },
    'block-job-complete': ({ device }) => {
      blockJob(device).complete();
    },
    'block-job-finalize': ({ id }) => {
      blockJob(id).finalize();
    },
    'block-job-dismiss': ({ id }) => {
      blockJob(id).dismiss();
    },
    'block-job-cancel': ({ device, force = false }) => {
      blockJob(device).cancel({ force });
    },
    'block-job-set-speed': ({ device, speed }) => {
      blockJob(device).setSpeed(speed);
    },
    'block-job-change': (given) => {
      const changed = blockJob(given.id);
      if (!(changed instanceof MirrorJob)) {
        throw new RefusedError('Job type does not support change');
      }
      changed.changeCopyMode(given['copy-mode']);
    },
    'query-block-jobs': () =>
      jobs
        .list()
        .filter((one) => one instanceof MirrorJob)
        .map(describeMirror),
  };
}

function describeJob(job: Job): Qmp<'JobInfo'> {
  return {
    id: job.id,
    type: job.type as Qmp<'JobType'>,
    status: job.status,
    'current-progress': job.progressCurrent,
    'total-progress': job.progressTotal,
    error: job.error,
  };
}

function describeMirror(job: MirrorJob): Qmp<'BlockJobInfo'> {
  return {
    type: 'mirror',
    device: job.id,
    len: job.progressTotal,
    offset: job.progressCurrent,
    busy: job.busy,
    paused: job.userPaused,
    speed: job.speed,
    'io-status': job.ioStatus,
    ready: job.isReady,
    status: job.status,
    'auto-finalize': job.autoFinalize,
    'auto-dismiss': job.autoDismiss,
    error: job.error,
    'x-reason': job.reason,
    ...job.query(),
  };
}
