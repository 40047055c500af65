// Which namespaces a container has for itself, shares with its pod, or has of the host.
import { deepStrictEqual, match, notStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFile, readlink } from 'node:fs/promises'
import { type DeepPartial, NamespaceMode, type NamespaceOption } from '../gen/runtime.ts'
import { type Checks, eventually, SuiteSkip, type ValidationRuntime } from './suite-checks.ts'
import { openPod, podConfig, type TestPod } from './suite-pod.ts'

const { POD, CONTAINER, NODE, TARGET } = NamespaceMode
type Options = DeepPartial<NamespaceOption>

const ofHost = async (kind: string): Promise<string> => readlink(`/proc/self/ns/${kind}`)
const inside = async (pod: TestPod, id: string, kind: string): Promise<string> =>
  (await pod.output(id, 'readlink', `/proc/self/ns/${kind}`)).trim()
const within = async (runtime: ValidationRuntime, namespaceOptions: Options): Promise<TestPod> =>
  openPod(runtime, { linux: { securityContext: { namespaceOptions } } })

async function pair(pod: TestPod, namespaceOptions: Options, kind: string): Promise<[string, string]> {
  const [first, second] = [await pod.secure({ namespaceOptions }), await pod.secure({ namespaceOptions })]
  return [await inside(pod, first, kind), await inside(pod, second, kind)]
}

async function usernsRefused(runtime: ValidationRuntime, usernsOptions: Options['usernsOptions']): Promise<void> {
  const config = podConfig(runtime, { linux: { securityContext: { namespaceOptions: { usernsOptions } } } })
  await rejects(async () => {
    const accepted = await runtime.runtimeService.runPodSandbox({ config, runtimeHandler: runtime.handler })
    await runtime.runtimeService.removePodSandbox(accepted)
  })
  const { items } = await runtime.runtimeService.listPodSandbox({ filter: undefined })
  ok(!items.some(({ metadata }) => metadata?.uid === config.metadata?.uid))
}
const mapping = (containerId: number, hostId: number): object => ({ containerId, hostId, length: 100_000 })

/** Throws where the runtime says that it has no user namespaces. */
async function needsUserNamespaces({ runtimeService, handler }: ValidationRuntime): Promise<void> {
  const { runtimeHandlers } = await runtimeService.status({ verbose: false })
  if (!runtimeHandlers.find(({ name }) => name === handler)?.features?.userNamespaces) {
    throw new SuiteSkip('the handler has no user namespaces')
  }
}

export const namespaceChecks: Checks = {
  async 'host PID: the processes of the host, and of another container'(runtime) {
    const namespaceOptions = { pid: NODE }
    await using pod = await within(runtime, namespaceOptions)
    const linux = { securityContext: { namespaceOptions } }
    const first = await pod.run({ command: ['sh', '-c', 'echo $$; exec sleep 777'], linux })
    const second = await pod.secure({ namespaceOptions })
    strictEqual(await inside(pod, first, 'pid'), await ofHost('pid'))
    const [line = ''] = await eventually('its PID', async () => {
      const lines = await pod.log(first)
      return lines.length > 0 && lines
    })
    match(await pod.output(second, 'ps'), new RegExp(`^\\s*${line.split(' ')[2]} .*sleep 777`, 'm'))
  },
  async 'PID of the pod: shared, and the first process is not the container’s'(runtime) {
    const namespaceOptions = { pid: POD }
    await using pod = await within(runtime, namespaceOptions)
    const [first, second] = await pair(pod, namespaceOptions, 'pid')
    strictEqual(first, second)
    notStrictEqual(first, await ofHost('pid'))
    const id = await pod.secure({ namespaceOptions })
    ok(!(await pod.output(id, 'cat', '/proc/1/cmdline')).includes('sleep'))
  },
  async 'PID of the container: its own, and its program is the first process'(runtime) {
    const namespaceOptions = { pid: CONTAINER }
    await using pod = await within(runtime, namespaceOptions)
    const [first, second] = await pair(pod, namespaceOptions, 'pid')
    notStrictEqual(first, second)
    const id = await pod.secure({ namespaceOptions })
    strictEqual(await pod.output(id, 'cat', '/proc/1/cmdline'), ['/bin/sleep', '600', ''].join('\0'))
  },
  async 'PID of a target container'(runtime) {
    await using pod = await within(runtime, { pid: CONTAINER })
    const target = await pod.secure({ namespaceOptions: { pid: CONTAINER } })
    const id = await pod.secure({ namespaceOptions: { pid: TARGET, targetId: target } })
    strictEqual(await inside(pod, id, 'pid'), await inside(pod, target, 'pid'))
    await rejects(pod.secure({ namespaceOptions: { pid: TARGET, targetId: 'e'.repeat(64) } }))
  },
  async 'IPC of the pod or of the host'(runtime) {
    for (const ipc of [POD, NODE]) {
      await using pod = await within(runtime, { ipc })
      const [first, second] = await pair(pod, { ipc }, 'ipc')
      strictEqual(first, second)
      strictEqual(first === (await ofHost('ipc')), ipc === NODE)
    }
  },
  async 'network and host name of the pod or of the host'(runtime) {
    for (const network of [POD, NODE]) {
      await using pod = await within(runtime, { network })
      for (const kind of ['net', 'uts']) {
        const [first, second] = await pair(pod, { network }, kind)
        strictEqual(first, second)
        strictEqual(first === (await ofHost(kind)), network === NODE, kind)
      }
      deepStrictEqual((await pod.status()).linux?.namespaces?.options?.network, network)
      strictEqual((await pod.status()).network?.ip === '', network === NODE)
    }
  },
  async 'shared memory is of the pod'(runtime) {
    await using pod = await openPod(runtime)
    const [first, second] = [await pod.run(), await pod.run()]
    await pod.output(first, 'sh', '-c', 'echo shared >/dev/shm/file')
    strictEqual(await pod.output(second, 'cat', '/dev/shm/file'), 'shared\n')
    match(await pod.output(first, 'df', '-k', '/dev/shm'), / 65536 /)
  },
  async 'mounts and cgroup are not the host’s; the cgroup is read-only'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.run()
    notStrictEqual(await inside(pod, id, 'mnt'), await ofHost('mnt'))
    const { exitCode, stderr } = await pod.result(
      id,
      'sh',
      '-c',
      'mkdir $(ls -d /sys/fs/cgroup/memory || echo /sys/fs/cgroup)/x',
    )
    strictEqual(exitCode, 1)
    match(stderr, /Read-only file system/)
  },
  async 'user namespace of the pod: mapped as asked'(runtime) {
    await needsUserNamespaces(runtime)
    const ids = [mapping(0, 1000)]
    const namespaceOptions = { usernsOptions: { mode: POD, uids: ids, gids: ids } }
    await using pod = await within(runtime, namespaceOptions)
    const id = await pod.secure({ namespaceOptions })
    match(await pod.output(id, 'cat', '/proc/self/uid_map'), /^\s+0\s+1000\s+100000\n$/)
  },
  async 'user namespace of the host'(runtime) {
    const namespaceOptions = { usernsOptions: { mode: NODE } }
    await using pod = await within(runtime, namespaceOptions)
    const id = await pod.secure({ namespaceOptions })
    strictEqual(await pod.output(id, 'cat', '/proc/self/uid_map'), await readFile('/proc/self/uid_map', 'utf8'))
  },
  async 'user namespaces: two lines are refused'(runtime) {
    const ids = [mapping(0, 1000), mapping(0, 2000)]
    await usernsRefused(runtime, { mode: POD, uids: ids, gids: ids })
  },
  async 'user namespaces: a mapping without root is refused'(runtime) {
    const ids = [mapping(1, 1000)]
    await usernsRefused(runtime, { mode: POD, uids: ids, gids: ids })
  },
  'user namespaces: mode CONTAINER is refused': async (runtime) => usernsRefused(runtime, { mode: CONTAINER }),
  'user namespaces: mode TARGET is refused': async (runtime) => usernsRefused(runtime, { mode: TARGET }),
}
