// Many lives of pods on a node of its own, with deletes, kill -9 and restarts of the agent, and a control plane that goes
// away; ends with 1, and says why, when a pod sticks or anything is left.
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createKubeClient,
  isAlreadyExists,
  isNotFound,
  type KubeClient,
  loadKubeconfig,
  pods,
} from '@nodelet/kube-client'
import { type NodeConfigInput, parseConfig, resetMachine } from '@nodelet/node-agent'
import type { Container, Pod, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { pino } from 'pino'
import { runAlone } from '../../bench/alone.ts'
import { type Part, startPart } from '../../bench/kubelet/peers.ts'
import { cgroupFolders } from '../../packages/runtime-runc/test/fixture.ts'
import { randomFrom } from '../../packages/runtime-runc/test/crash/random.ts'
import { patient } from './patience.ts'

runAlone()
const [lives, seed] = [Number(process.argv[2]), Number(process.argv[3])]
const together = 6
const { insist, until } = patient(60_000)
const namespace = 'default'
const image = 'localhost/nodelet-demo:1'

const folder = mkdtempSync(join(tmpdir(), 'nodelet-soak-'))
const name = folder.slice(folder.lastIndexOf('-') + 1)
const place = { nodeName: 'soak', nodeIPs: ['127.0.0.1'], cgroupRoot: `/nodelet-${name}` }
const plane: NodeConfigInput = { ...place, root: join(folder, 'c'), run: `/run/nodelet-${name}c`, parts: ['cluster'] }
const node: NodeConfigInput = {
  ...place,
  root: join(folder, 'n'),
  run: `/run/nodelet-${name}`,
  manifests: join(folder, 'manifests'),
  parts: ['runtime', 'kubelet', 'proxy'],
}
const random = randomFrom(seed)
const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
const pause = async (most: number): Promise<void> => sleep(random() * most)

const stay = 'trap exit TERM; sleep 600 & wait'
const shell = (script: string, more: Partial<Container> = {}): Container => ({
  name: 'main',
  image,
  imagePullPolicy: 'IfNotPresent',
  command: ['/bin/sh', '-c', script],
  ...more,
})
const kinds: readonly PodSpec[] = [
  { containers: [shell(stay)] },
  { containers: [shell('exit 0')], restartPolicy: 'Never' },
  { containers: [shell('exit 3')] },
  { containers: [shell('trap "" TERM; sleep 600')], terminationGracePeriodSeconds: 1 },
  { containers: [shell(stay, { image: 'localhost:1/none:1' })] },
  {
    initContainers: [
      shell('sleep 0.2', { name: 'init' }),
      { ...shell(stay, { name: 'side' }), restartPolicy: 'Always' } as Container,
    ],
    containers: [
      shell(stay, { ports: [{ containerPort: 80, hostPort: 8080 }] }),
      shell(stay, { name: 'probed', readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 } }),
    ],
    volumes: [{ name: 'data', emptyDir: { medium: 'Memory' } }],
  },
]

const parts = new Set<Part>()
async function begin(config: NodeConfigInput): Promise<Part> {
  const part = await startPart(config, false)
  parts.add(part)
  return part
}

async function live(client: KubeClient, index: number): Promise<void> {
  const metadata = { name: `pod-${index}`, namespace }
  const spec = { terminationGracePeriodSeconds: 2, ...pick(kinds) }
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec }
  // A request that was answered by nobody may have been heard.
  await insist(async () => client.create(pods, pod)).catch((error: unknown) => assert(isAlreadyExists(error)))
  await pause(1500)
  const force = random() < 0.2
  const options = force ? { gracePeriodSeconds: 0 } : {}
  const isGone = async (): Promise<boolean> =>
    insist(async () => client.get(pods, metadata)).then(() => false, isNotFound)
  await insist(async () => client.delete(pods, metadata, options)).catch((error: unknown) => assert(isNotFound(error)))
  await until(`the end of ${metadata.name}${force ? ', forced' : ''}: ${JSON.stringify(spec)}`, isGone)
}

/** What a node has of its pods, in the kernel and on disk. */
function left(): Record<string, string[]> {
  const below = (path: string): string[] => readdirSync(path, { recursive: true }).map(String)
  const folders = ['kubelet/pods', 'pod-logs', 'runtime/sandboxes', 'runtime/containers', 'images/rootfs']
  const processes = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid))
  return {
    ...Object.fromEntries(folders.map((path) => [path, readdirSync(join(node.root ?? '', path))])),
    addresses: below(join(node.root ?? '', 'cni')).filter((path) => /\/\d+\.\d+\.\d+\.\d+$/.test(path)),
    cgroups: cgroupFolders(place.cgroupRoot).flatMap((path) =>
      below(path).filter((one) => /pod[-0-9a-f]{36}/.test(one)),
    ),
    links: readFileSync('/proc/net/dev', 'utf8').match(/veth\w+/g) ?? [],
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(join(node.root ?? '', 'kubelet/pods/'))),
    processes: processes.filter((pid) => /^(conmon|runc|pause)$/m.test(commOf(pid))),
  }
}
function commOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8')
  } catch {
    return '' // it has just ended
  }
}

async function main(): Promise<void> {
  let cluster = await begin(plane)
  const { kubeconfig = '', ofKubelet = '' } = cluster.first
  const joined = { ...node, kubeconfig: ofKubelet }
  let agent = await begin(joined)
  await agent.ask({ what: 'image', folder: join(folder, 'image'), image })
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  const before = left()

  let done = false
  const again = async (part: Part, config: NodeConfigInput): Promise<Part> => {
    await (random() < 0.7 ? part.kill() : part.close())
    await pause(1500)
    return begin(config)
  }
  const trouble = async (): Promise<void> => {
    for (await pause(3000); !done; await pause(3000)) {
      if (random() < 0.6) agent = await again(agent, joined)
      else cluster = await again(cluster, plane)
    }
  }
  const queue = Array.from({ length: lives }, (_, index) => index)
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await live(client, next)
  }
  const troubles = trouble()
  try {
    await Promise.all(Array.from({ length: together }, work))
  } finally {
    done = true
    await troubles
  }
  await until('nothing to be left', async () => JSON.stringify(left()) === JSON.stringify(before)).catch(
    () => undefined,
  )
  assert.deepEqual(left(), before)
  await agent[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
}

try {
  const tooLong = sleep(60_000 + lives * 10_000).then(() => Promise.reject(new Error('it takes too long')))
  await Promise.race([main(), tooLong])
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  for (const part of parts) await part.kill()
  const log = pino({ level: 'silent' })
  for (const { parts: _, ...input } of [node, plane])
    await resetMachine(parseConfig(input, 'soak'), log, () => undefined)
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
