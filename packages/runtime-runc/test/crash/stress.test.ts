// Many calls at random, with a daemon that is killed now and then: whatever happened, nothing is left at the end.
import { setTimeout as sleep } from 'node:timers/promises'
import { ContainerState, LinuxContainerResources, PodSandboxState } from '@nodelet/cri-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'
import { randomFrom } from './random.ts'

const CALLS = 200
const AT_ONCE = 5
const MOST_PODS = 5
const KILLS = 6
/** Answers that a client gets which is not alone: of an object that is gone, or not in the state for the call. */
const usual = /^(NOT_FOUND|FAILED_PRECONDITION|ALREADY_EXISTS|ABORTED)$/

let daemon: Daemon
beforeAll(async () => {
  daemon = await makeDaemon()
  const pod = await daemon.runPod({ portMappings: [{ hostPort: 8080, containerPort: 80 }] })
  await daemon.run(pod, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
})
afterAll(async () => daemon[Symbol.asyncDispose]())

test('calls at random and a daemon that dies: the machine is as before', async () => {
  const seed = Number(process.env['FAULTS_SEED'] ?? Date.now() % 1_000_000)
  console.info(`seed: FAULTS_SEED=${seed}`)
  const random = randomFrom(seed)
  const before = await daemon.state()
  const [pods, containers]: [string[], string[]] = [[], []]
  const some = (of: string[]): string => of[Math.floor(random() * of.length)] ?? 'none'
  const { runtime } = daemon
  const scripts = ['sleep 600', 'exit 3', 'trap "exit 4" TERM; while :; do sleep 0.05; done', 'echo line; sleep 0.2']
  let hostPort = 9000
  const calls: Record<string, () => Promise<unknown>> = {
    runPod: async () => {
      if (pods.length >= MOST_PODS) return
      pods.push(
        await daemon.runPod(random() < 0.5 ? { portMappings: [{ hostPort: hostPort++, containerPort: 80 }] } : {}),
      )
    },
    create: async () => containers.push(await daemon.create(some(pods), some(scripts))),
    run: async () => containers.push(await daemon.run(some(pods), some(scripts))),
    start: async () => runtime.startContainer({ containerId: some(containers) }),
    exec: async () => daemon.exec(some(containers), some(['echo here', 'sleep 0.3', 'exit 2'])),
    stop: async () => runtime.stopContainer({ containerId: some(containers), timeout: random() < 0.5 ? 0n : 1n }),
    remove: async () => runtime.removeContainer({ containerId: some(containers) }),
    update: async () => {
      const linux = LinuxContainerResources.fromPartial({ cpuShares: BigInt(100 + Math.floor(random() * 900)) })
      await runtime.updateContainerResources({
        containerId: some(containers),
        linux,
        windows: undefined,
        annotations: {},
      })
    },
    reopen: async () => runtime.reopenContainerLog({ containerId: some(containers) }),
    list: async () => runtime.listContainers({ filter: undefined }),
    stopPod: async () => {
      if (random() < 0.3) await runtime.stopPodSandbox({ podSandboxId: some(pods) })
    },
    removePod: async () => {
      if (random() > 0.3) return
      const podSandboxId = some(pods)
      await runtime.removePodSandbox({ podSandboxId })
      pods.splice(pods.indexOf(podSandboxId), pods.includes(podSandboxId) ? 1 : 0)
    },
  }
  const names = Object.keys(calls)
  const unexpected: string[] = []
  const deaths = new Set(Array.from({ length: KILLS }, () => Math.floor(random() * (CALLS / AT_ONCE))))
  for (let round = 0; round < CALLS / AT_ONCE; round++) {
    let dead = false
    const work = Array.from({ length: AT_ONCE }, async () => {
      const name = some(names)
      try {
        await calls[name]?.()
      } catch (error) {
        const { code, message } = error as Error & { code?: string }
        if (dead || usual.test(code ?? '')) return
        if (name === 'exec' && /failed to exec in container|UNKNOWN/.test(message)) return // it ended meanwhile
        unexpected.push(`${name}: ${code}: ${message}`)
      }
    })
    if (deaths.has(round)) {
      await sleep(random() * 400)
      dead = true
      await daemon.kill()
      await Promise.all(work)
      await daemon.start()
      await takeStock(pods, containers)
    } else await Promise.all(work)
  }
  expect(unexpected).toEqual([])
  await takeStock(pods, containers)
  await Promise.all(pods.map((podSandboxId) => runtime.removePodSandbox({ podSandboxId })))
  await daemon.expectState(before)
  expect(daemon.problems).toEqual([])
}, 180_000)

/** What is there after a death: whole objects only. */
async function takeStock(pods: string[], containers: string[]): Promise<void> {
  const { items } = await daemon.runtime.listPodSandbox({ filter: undefined })
  pods.splice(0, pods.length, ...items.map(({ id }) => id))
  const listed = (await daemon.runtime.listContainers({ filter: undefined })).containers
  containers.splice(0, containers.length, ...listed.map(({ id }) => id))
  for (const { podSandboxId, state } of listed) {
    expect(pods).toContain(podSandboxId)
    expect(state).not.toBe(ContainerState.CONTAINER_UNKNOWN)
  }
  for (const { id, state } of items) {
    if (state !== PodSandboxState.SANDBOX_READY) continue
    const containerId = await daemon.run(id, 'sleep 600')
    expect(await daemon.exec(containerId, 'echo works')).toBe('works')
    await daemon.runtime.removeContainer({ containerId })
  }
}
