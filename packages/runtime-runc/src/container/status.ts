// A container's record as CRI shows it.
import {
  ContainerState,
  ContainerStatus as ContainerStatusMessage,
  ImageSpec,
  LinuxContainerResources,
  containerStateToJSON,
} from '@nodelet/cri-api'
import type { Container, ContainerStatus } from '@nodelet/cri-api'
import { criSignal } from '../signals.ts'
import type { ContainerPhase, ContainerRecord } from './record.ts'

const states: Readonly<Record<ContainerPhase, ContainerState>> = {
  creating: ContainerState.CONTAINER_UNKNOWN,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
}

/** The state's name in CRI, for messages. */
export const stateName = (phase: ContainerPhase): string => containerStateToJSON(states[phase])

/** Milliseconds since the epoch, or a part of one, as CRI's nanoseconds. */
export const nanoseconds = (milliseconds: number | undefined): bigint =>
  BigInt(Math.round((milliseconds ?? 0) * 1000)) * 1000n

/** One of ListContainers. */
export function containerOf(record: Readonly<ContainerRecord>): Container {
  const { id, sandboxId, phase, config, createdAt, imageId = '' } = record
  const { metadata, labels, annotations, image } = config
  return {
    id,
    podSandboxId: sandboxId,
    metadata,
    image,
    imageRef: imageId,
    imageId,
    state: states[phase],
    createdAt: nanoseconds(createdAt),
    labels,
    annotations,
  }
}

/** What ContainerStatus answers. `tag` is the first tag of the image, if it has one now. */
export function containerStatusOf(record: Readonly<ContainerRecord>, tag?: string): ContainerStatus {
  const { id, phase, config, createdAt, startedAt, finishedAt, imageId = '', user } = record
  const { metadata, labels, annotations, image, linux } = config
  const ended = phase === 'exited'
  // A program may end before runc tells that it started.
  const finished = ended ? Math.max(finishedAt ?? createdAt, startedAt ?? createdAt) : 0
  return ContainerStatusMessage.fromPartial({
    id,
    metadata,
    state: states[phase],
    createdAt: nanoseconds(createdAt),
    startedAt: nanoseconds(startedAt),
    finishedAt: nanoseconds(finished),
    exitCode: ended ? (record.exitCode ?? 255) : 0,
    reason: record.reason ?? '',
    message: record.message ?? '',
    image: { ...ImageSpec.fromPartial(image ?? {}), image: tag ?? image?.image ?? '' },
    imageRef: record.imageRef ?? imageId,
    imageId,
    labels,
    annotations,
    mounts: config.mounts,
    logPath: record.logPath ?? '',
    resources: { linux: LinuxContainerResources.fromPartial(linux?.resources ?? {}) },
    ...(user && {
      user: {
        linux: {
          uid: BigInt(user.uid),
          gid: BigInt(user.gid),
          supplementalGroups: [...new Set([user.gid, ...user.additionalGids])].map(BigInt),
        },
      },
    }),
    stopSignal: config.stopSignal || criSignal(record.stopSignal),
  })
}
