// Profiles of this process, made by V8 while somebody waits.
import type { Session } from 'node:inspector/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { encodeProfile } from './pprof.ts'
import { cpuTree, heapTree } from './trees.ts'

/** CPU time; memory that was taken meanwhile and is still in use; all memory that was taken meanwhile. */
export type ProfileName = 'profile' | 'heap' | 'allocs'

/** A profile of this kind is being made already. */
export class ProfilerBusy extends Error {
  override readonly name = 'ProfilerBusy'

  constructor(what: 'CPU' | 'heap') {
    super(`Could not enable ${what} profiling: ${what.toLowerCase()} profiling already in use`)
  }
}

const pack = promisify(gzip)
/** As Go samples. */
const sampleMs = 10
/** The longer a profile, the fewer samples a second: reading them back must not take long. */
const mostSamples = 6000
const sampleBytes = 32_768
/** V8's profilers belong to the process, whoever asks for them. */
const busy = new Set<'CPU' | 'heap'>()

/**
 * A profile as `go tool pprof` reads it, packed by gzip. Beginning one holds the process up for some 30 ms.
 * @throws ProfilerBusy; the signal's reason when it aborts: then the profile ends
 */
export async function takeProfile(name: ProfileName, ms: number, signal: AbortSignal): Promise<Buffer> {
  const what = name === 'profile' ? 'CPU' : 'heap'
  if (busy.has(what)) throw new ProfilerBusy(what)
  busy.add(what)
  try {
    // Not every Node.js has it.
    const { Session } = await import('node:inspector/promises')
    const session = new Session()
    session.connect()
    try {
      const profile = name === 'profile' ? cpu(session, ms, signal) : heap(session, ms, signal, name === 'allocs')
      return await pack(await profile)
    } finally {
      session.disconnect() // ends what it began
    }
  } finally {
    busy.delete(what)
  }
}

async function cpu(session: Session, ms: number, signal: AbortSignal): Promise<Uint8Array> {
  const intervalMs = Math.max(sampleMs, ms / mostSamples)
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: Math.round(intervalMs * 1000) })
  await session.post('Profiler.start')
  const beganMs = Date.now()
  await sleep(ms, undefined, { signal })
  const { profile } = await session.post('Profiler.stop')
  return encodeProfile(cpuTree(profile), {
    values: [
      ['samples', 'count'],
      ['cpu', 'nanoseconds'],
    ],
    period: { kind: ['cpu', 'nanoseconds'], value: intervalMs * 1e6 },
    beganMs,
    durationMs: (profile.endTime - profile.startTime) / 1000,
  })
}

async function heap(session: Session, ms: number, signal: AbortSignal, isAll: boolean): Promise<Uint8Array> {
  await session.post('HeapProfiler.enable')
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: sampleBytes,
    includeObjectsCollectedByMajorGC: isAll,
    includeObjectsCollectedByMinorGC: isAll,
  })
  const beganMs = Date.now()
  await sleep(ms, undefined, { signal })
  const { profile } = await session.post('HeapProfiler.stopSampling')
  return encodeProfile(heapTree(profile), {
    values: [[isAll ? 'alloc_space' : 'inuse_space', 'bytes']],
    period: { kind: ['space', 'bytes'], value: sampleBytes },
    beganMs,
    durationMs: Date.now() - beganMs,
  })
}
