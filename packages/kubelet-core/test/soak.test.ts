// Many lives of pods at once, with deletes, crashes, restarts of the kubelet and an API that goes away: nothing sticks, nothing
// is left. NODELET_SOAK says how many lives (default 30), NODELET_SEED which ones.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConnectionError, isNotFound, type KubeClient, pods } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { cgroupFolders } from '../../runtime-runc/test/fixture.ts'
import { randomFrom } from '../../runtime-runc/test/crash/random.ts'
import { namespace, startWholeCluster, stay, type WholeCluster } from './whole-cluster.ts'

const lives = Number(process.env['NODELET_SOAK'] ?? 30)
const seed = Number(process.env['NODELET_SEED'] ?? Date.now() % 100_000)
const together = 6
const waitMs = 60_000

/** A client whose server can be made to be away. */
function unsteady(client: KubeClient): { client: KubeClient; away(on: boolean): void } {
  let isAway = false
  const guarded = (name: string, call: unknown): unknown =>
    typeof call !== 'function'
      ? call
      : (...args: unknown[]): unknown => {
          const error = new ConnectionError('the server is away')
          if (isAway && name === 'watch') throw error
          if (isAway) return Promise.reject(error)
          return (call as (...args: unknown[]) => unknown).apply(client, args)
        }
  const all = Object.entries(client).map(([name, call]) => [name, name === 'close' ? call : guarded(name, call)])
  const unsure = { ...client, ...Object.fromEntries(all), limited: () => unsure } as KubeClient
  return { client: unsure, away: (on) => void (isAway = on) }
}

type Kind = (world: WholeCluster) => object

const kinds: readonly Kind[] = [
  ({ shell }) => ({ containers: [shell(stay)] }),
  ({ shell }) => ({ containers: [shell('exit 0')], restartPolicy: 'Never' }),
  ({ shell }) => ({ containers: [shell('exit 3')] }),
  ({ shell }) => ({ containers: [shell('trap "" TERM; sleep 600')], terminationGracePeriodSeconds: 1 }),
  ({ shell }) => ({ containers: [{ ...shell(stay), image: 'localhost:1/none:1' }] }),
  ({ shell }) => ({
    initContainers: [shell('sleep 0.2', { name: 'init' }), shell(stay, { name: 'side', restartPolicy: 'Always' })],
    containers: [shell(stay, { readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 } })],
    volumes: [{ name: 'data', emptyDir: { medium: 'Memory' } }],
  }),
]

it(`${lives} lives of pods end without a trace (seed ${seed})`, { timeout: 60_000 + lives * 10_000 }, async () => {
  const random = randomFrom(seed)
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
  const pause = async (most: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, random() * most))
  let switchApi: (on: boolean) => void = () => undefined
  await using world = await startWholeCluster({}, (client) => {
    const { client: guarded, away } = unsteady(client)
    switchApi = away
    return guarded
  })
  const { create, admin, folder, f } = world

  const gone = async (name: string, uid: string | undefined): Promise<boolean> =>
    admin.get(pods, { name, namespace }).then(
      ({ metadata }) => metadata?.uid !== uid,
      (error: unknown) => isNotFound(error),
    )
  const live = async (index: number): Promise<void> => {
    const name = `pod-${index}`
    const created: Pod = await create(name, pick(kinds)(world))
    await pause(1500)
    const force = random() < 0.2
    await admin.delete(pods, { name, namespace }, force ? { gracePeriodSeconds: 0 } : {})
    const where = `pod ${name}${force ? ', forced' : ''}`
    await expect.poll(async () => gone(name, created.metadata?.uid), { timeout: waitMs, message: where }).toBe(true)
  }
  let done = false
  const trouble = async (): Promise<void> => {
    while (!done) {
      await pause(3000)
      if (random() < 0.5) await world.restart()
      else {
        switchApi(true)
        await pause(1500)
        switchApi(false)
      }
    }
  }
  const queue = Array.from({ length: lives }, (_, index) => index)
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await live(next)
  }
  const troubles = trouble()
  try {
    await Promise.all(Array.from({ length: together }, work))
  } finally {
    done = true
    await troubles
  }

  const { runtimeService } = f.runtime
  const left = async () => {
    const [{ items }, { containers }] = [
      await runtimeService.listPodSandbox({}),
      await runtimeService.listContainers({}),
    ]
    const below = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])
    const tiers = ['', '/burstable', '/besteffort'].flatMap((tier) =>
      cgroupFolders(`${f.cgroup}/kubepods${tier}`).flatMap(below),
    )
    return {
      pods: world.kubelet.pods().map(({ metadata }) => metadata?.name),
      sandboxes: items.map(({ metadata }) => metadata?.name),
      containers: containers.map(({ metadata }) => metadata?.name),
      folders: below(join(folder, 'root/pods')),
      logs: below(join(folder, 'logs')),
      cgroups: tiers.filter((name) => name.startsWith('pod')),
      mounts: readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(`${folder}/root`)),
    }
  }
  const nothing = { pods: [], sandboxes: [], containers: [], folders: [], logs: [], cgroups: [], mounts: [] }
  await expect.poll(left, { timeout: waitMs, interval: 200 }).toEqual(nothing)
})
