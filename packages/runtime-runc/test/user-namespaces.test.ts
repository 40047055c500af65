// Pods in user namespaces, with Debian's runc: its own knows nothing of id-mapped mounts.
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ImageSpec, Mount, NamespaceMode } from '@nodelet/cri-api'
import type { ContainerConfig, DeepPartial, NamespaceOption, PodSandboxConfig } from '@nodelet/cri-api'
import { mount, readMountInfo, unmount, unmountIfMounted } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createStreamAdapters, openRuntime, openStreaming } from '../src/index.ts'
import { userNamespaceObstacle } from '../src/user-namespace-support.ts'
import { makeImage } from './registry.ts'
import { leftovers, makeRuntime } from './runtime-fixture.ts'
import { channelConnect } from './streaming/web-socket-client.ts'

const { POD, NODE, CONTAINER, TARGET } = NamespaceMode
const HOST = 300_000
const line = { containerId: 0, hostId: HOST, length: 65_536 }
const mappings = { uidMappings: [line], gidMappings: [line] }
const owned = (options: DeepPartial<NamespaceOption> = {}) => ({
  securityContext: {
    namespaceOptions: { pid: CONTAINER, usernsOptions: { mode: POD, uids: [line], gids: [line] }, ...options },
  },
})

// A machine without them has to say so, and no more.
const obstacle = await userNamespaceObstacle(tmpdir())
const ifPossible = test.skipIf(obstacle !== undefined)

let f: Awaited<ReturnType<typeof makeRuntime>>
beforeAll(async () => {
  f = await makeRuntime({ streaming: async (backend) => openStreaming(await createStreamAdapters(backend)) })
  chmodSync(f.folder, 0o711)
})
afterEach(async () => {
  const { items } = await f.runtime.runtimeService.listPodSandbox({ filter: undefined })
  for (const { id } of items) await f.runtime.runtimeService.removePodSandbox({ podSandboxId: id })
  expect([...leftovers(f), ...readdirSync(join(f.runDir, 'shown'))]).toEqual([])
})
afterAll(async () => f[Symbol.asyncDispose]())

interface Pod {
  id: string
  /** Makes and starts a container. */
  run(name: string, script: string, config?: DeepPartial<ContainerConfig>): Promise<string>
}

async function pod(options: DeepPartial<NamespaceOption> = {}, more: DeepPartial<PodSandboxConfig> = {}): Promise<Pod> {
  const config = f.pod({ ...more, linux: { ...owned(options), ...more.linux } })
  const { podSandboxId: id } = await f.runtime.runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  return {
    id,
    run: async (name, script, container = {}) => {
      const own = f.container(name, script, {
        logPath: `${name}-${id.slice(0, 8)}.log`,
        linux: owned(options),
        ...container,
      })
      const request = { podSandboxId: id, config: own, sandboxConfig: config }
      const { containerId } = await f.runtime.runtimeService.createContainer(request)
      await f.runtime.runtimeService.startContainer({ containerId })
      return containerId
    },
  }
}

async function output(containerId: string): Promise<string[]> {
  await f.runtime.wait(containerId)
  const { status } = await f.runtime.runtimeService.containerStatus({ containerId, verbose: false })
  const lines = readFileSync(status?.logPath ?? '', 'utf8')
    .trim()
    .split('\n')
  return lines.map((text) => text.split(' ').slice(3).join(' '))
}

ifPossible('root of a container is nobody on the node, and owns its files, network and volumes', async () => {
  const one = await pod()
  const script = [
    'cat /proc/self/uid_map',
    'ls -ln /bin/busybox /etc/hosts /data/seed | while read _ _ uid gid _; do echo $uid:$gid; done',
    'ls -lnd / /dev/shm /dev /data | while read _ _ uid gid _; do echo $uid:$gid; done',
    'touch /new /data/new /dev/shm/new && echo written',
    'ip link add d0 type dummy 2>/dev/null; ip addr add 10.1.1.1/32 dev lo && echo network',
    'mount -t tmpfs tmpfs /tmp && echo mounted',
    'echo to stderr > /dev/stderr',
    'cat /proc/sys/net/ipv4/ping_group_range',
    'sleep 600',
  ]
  const container = await one.run('c', script.join('; '), {
    linux: {
      securityContext: {
        ...owned().securityContext,
        capabilities: { addCapabilities: ['SYS_ADMIN', 'NET_ADMIN'] },
      },
    },
  })
  const { runtimeService } = f.runtime
  const exec = async (...cmd: string[]): Promise<string> => {
    const { stdout, stderr } = await runtimeService.execSync({ containerId: container, cmd, timeout: 5n })
    return Buffer.from(stdout).toString().trim() + Buffer.from(stderr).toString()
  }
  expect(await exec('id', '-u')).toBe('0')
  const { info } = await runtimeService.containerStatus({ containerId: container, verbose: true })
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number }
  expect(statSync(`/proc/${pid}`).uid).toBe(HOST)
  expect(statSync(join(f.images.rootfsPath(container) ?? '', 'new')).uid).toBe(HOST)
  await expect.poll(async () => exec('ls', '/new')).toBe('/new')
  const { status } = await runtimeService.containerStatus({ containerId: container, verbose: false })
  await expect.poll(() => readFileSync(status?.logPath ?? '', 'utf8')).toContain('65535')
  const lines = readFileSync(status?.logPath ?? '', 'utf8')
    .trim()
    .split('\n')
  const said = lines.map((text) => text.split(' ').slice(3).join(' ').trim().replace(/\s+/g, ' '))
  // The two streams have no order.
  expect(said.toSorted()).toEqual(
    [
      `0 ${HOST} 65536`,
      ...Array<string>(7).fill('0:0'),
      'written',
      'network',
      'mounted',
      'to stderr',
      '0 65535',
    ].toSorted(),
  )
})

ifPossible.each([0, 1000])('a command of exec may open its streams anew, as user %i', async (uid) => {
  const one = await pod()
  const security = { ...owned().securityContext, runAsUser: { value: BigInt(uid) } }
  const container = await one.run('c', 'sleep 600', { linux: { securityContext: security } })
  const cmd = ['/bin/sh', '-c', 'cat /dev/stdin > /dev/stdout; echo problem > /dev/stderr; exit 5']
  const request = { containerId: container, cmd, tty: false, stdin: true, stdout: true, stderr: true }
  const client = await channelConnect((await f.runtime.runtimeService.exec(request)).url, ['v5.channel.k8s.io'])
  client.send(0, 'given')
  client.send(255, Buffer.of(0))
  await client.closed
  expect([client.text(1), client.text(2)]).toEqual(['given', 'problem\n'])
  expect(JSON.parse(client.text(3))).toMatchObject({
    reason: 'NonZeroExitCode',
    details: { causes: [{ message: '5' }] },
  })
})

ifPossible(
  'volumes are shown with the ids of the pod, and keep those of the disk; nothing of it stays mounted',
  async () => {
    const volume = mkdtempSync(join(f.folder, 'volume-'))
    const memory = join(f.folder, 'memory')
    const file = join(f.folder, 'file')
    for (const path of [join(volume, 'sub'), memory]) mkdirSync(path)
    chmodSync(volume, 0o755)
    writeFileSync(join(volume, 'web'), 'x')
    chownSync(join(volume, 'web'), 1000, 1001)
    writeFileSync(file, 'one file')
    mount({ source: 'tmpfs', target: memory, type: 'tmpfs', options: ['size=1m', 'mode=0700'] })
    try {
      const one = await pod()
      const shift = [{ containerId: 0, hostId: 1_000_000, length: 2000 }]
      const mounts = [
        { hostPath: volume, containerPath: '/volume', ...mappings },
        { hostPath: memory, containerPath: '/memory', ...mappings },
        { hostPath: file, containerPath: '/file', readonly: true, ...mappings },
        { hostPath: volume, containerPath: '/others', uidMappings: shift, gidMappings: shift },
        { hostPath: volume, containerPath: '/plain' },
      ].map((fields) => Mount.fromPartial(fields))
      const script = [
        'for x in /volume/web /memory /file /others/web /plain/web; do ls -lnd $x; done | while read _ _ uid gid _; do echo $uid:$gid; done',
        'touch /volume/mine /memory/mine && echo written',
        'cat /file',
      ]
      const lines = await output(await one.run('c', script.join('; '), { mounts }))
      expect(lines).toEqual(['1000:1001', '0:0', '0:0', '65534:65534', '65534:65534', 'written', 'one file'])
      expect([statSync(join(volume, 'mine')).uid, statSync(join(memory, 'mine')).uid]).toEqual([0, 0])
      const shown = (await readMountInfo()).filter(({ mountPoint }) => mountPoint.includes('/shown/'))
      expect(shown).toEqual([])
    } finally {
      unmount(memory)
    }
    expect(readdirSync(volume).toSorted()).toEqual(['mine', 'sub', 'web'])
  },
)

ifPossible('what cannot be id-mapped is named, and half a mapping refused', async () => {
  const one = await pod()
  const withMount = async (fields: DeepPartial<Mount>): Promise<string> =>
    one.run('c', 'true', { mounts: [Mount.fromPartial({ containerPath: '/x', ...fields })] })
  await expect(withMount({ hostPath: '/proc', ...mappings })).rejects.toThrow(
    /^mount \/x of \/proc: EINVAL: mount_setattr \/proc: this file system, or one mounted below, cannot be id-mapped/,
  )
  await expect(withMount({ hostPath: '/etc', uidMappings: [line] })).rejects.toThrow(
    'mount /x has mappings of users or groups only',
  )
})

ifPossible('images are volumes of the pod, too', async () => {
  const image = `${f.registry.host}/apps/data:1`
  await f.registry.push(
    'apps/data:1',
    await makeImage([[{ name: 'model', content: 'heavy' }], [{ name: 'read', content: '' }]]),
  )
  const single = `${f.registry.host}/apps/one:1`
  await f.registry.push('apps/one:1', await makeImage([[{ name: 'model', content: 'light' }]]))
  await f.images.pull(image)
  await f.images.pull(single)
  const volume = (name: string, containerPath: string): Mount =>
    Mount.fromPartial({ containerPath, readonly: true, image: ImageSpec.fromPartial({ image: name }) })
  const one = await pod()
  const script =
    'for x in many one; do cat /$x/model; echo; done; ls -ln /many/model /one/model | while read _ _ uid _; do echo $uid; done'
  const id = await one.run('c', script, { mounts: [volume(image, '/many'), volume(single, '/one')] })
  expect((await output(id)).filter(Boolean)).toEqual(['heavy', 'light', '0', '0'])
})

ifPossible('a pod that shares its PID namespace, and one in the network of the node', async () => {
  const shared = await pod({ pid: POD })
  expect(await output(await shared.run('c', 'ps | grep -c [p]ause; touch /ok && echo ok'))).toEqual(['1', 'ok'])
  const host = await pod({ network: NODE })
  const script = 'ls /sys/class/net | grep -x lo; touch /sys/x; id -u'
  const lines = await output(await host.run('c', script))
  expect(lines).toEqual(expect.arrayContaining(['lo', '0'])) // the two streams have no order
  expect(lines.join()).toContain('Read-only file system')
})

ifPossible('a privileged container, a read-only one and one with a terminal, for users other than root', async () => {
  const privilegedPod = owned().securityContext
  const one = await pod({}, { linux: { securityContext: { ...privilegedPod, privileged: true } } })
  const withSecurity = async (name: string, script: string, fields: object, more = {}): Promise<string[]> => {
    const linux = { securityContext: { ...owned().securityContext, ...fields } }
    return output(await one.run(name, script, { linux, ...more }))
  }
  // All rights in the namespace, none over the node's devices.
  const script = 'mount -t tmpfs tmpfs /tmp && echo mounted; cat /proc/1/uid_map; ls -ln /dev/null | cat'
  const lines = await withSecurity('all', script, { privileged: true })
  expect(lines.map((text) => text.replace(/\s+/g, ' ').trim())).toEqual([
    'mounted',
    `0 ${HOST} 65536`,
    expect.stringContaining('65534 65534') as string,
  ])
  const user = { runAsUser: { value: 1000n }, runAsGroup: { value: 1001n }, readonlyRootfs: true }
  const web = 'id -u; echo said > /dev/stdout; touch /x 2> /dev/null || echo read-only'
  expect(await withSecurity('web', web, user)).toEqual(['1000', 'said', 'read-only'])
  expect((await withSecurity('tty', web, user, { tty: true })).join('\n')).toBe('1000\r\nsaid\r\nread-only')
})

ifPossible('sysctls are those of the pod', async () => {
  const sysctls = { 'kernel.shm_rmid_forced': '1', 'net.ipv4.ip_default_ttl': '42' }
  const one = await pod({}, { linux: { ...owned(), sysctls } })
  const files = ['kernel/shm_rmid_forced', 'net/ipv4/ip_default_ttl'].map((path) => `/proc/sys/${path}`)
  expect(await output(await one.run('c', `cat ${files.join(' ')}`))).toEqual(['1', '42'])
  await expect(pod({}, { linux: { ...owned(), sysctls: { 'net.ipv4.ip_default_ttl': '4200' } } })).rejects.toThrow(
    /setting a sysctl in the sandbox: .*ip_default_ttl=4200/s,
  )
})

ifPossible('a pod goes on over a restart, and nothing of it remains', async () => {
  const one = await pod()
  const containerId = await one.run('c', 'sleep 600')
  // As a crash while a container was made leaves it.
  const volume = join(f.folder, 'kept')
  const shown = join(f.runDir, 'shown', 'f'.repeat(64))
  for (const path of [volume, join(shown, '0')]) mkdirSync(path, { recursive: true })
  writeFileSync(join(volume, 'file'), 'kept')
  mount({ source: volume, target: join(shown, '0'), options: ['bind'] })
  await f.reopen()
  expect(readFileSync(join(volume, 'file'), 'utf8')).toBe('kept')
  expect(readdirSync(join(f.runDir, 'shown'))).toEqual([containerId])
  const { runtimeService } = f.runtime
  const { status } = await runtimeService.podSandboxStatus({ podSandboxId: one.id, verbose: false })
  expect(status).toMatchObject({ state: 0, linux: { namespaces: { options: { usernsOptions: { mode: POD } } } } })
  const { stdout } = await runtimeService.execSync({ containerId, cmd: ['id', '-u'], timeout: 5n })
  expect(Buffer.from(stdout).toString()).toBe('0\n')
  rmSync(volume, { recursive: true })
})

const long = [{ containerId: 0, hostId: 4_294_967_000, length: 65_536 }]
test.each([
  [{ mode: POD, uids: [], gids: [line] }, 'exactly one uid mapping, not 0'],
  [{ mode: POD, uids: [line], gids: [line, line] }, 'exactly one gid mapping, not 2'],
  [{ mode: POD, uids: [{ ...line, length: 0 }], gids: [line] }, 'the uid mapping has length 0'],
  [{ mode: POD, uids: [line], gids: [{ ...line, containerId: 1 }] }, 'container id 0 must be mapped'],
  [{ mode: POD, uids: long, gids: [line] }, 'goes beyond id 4294967294'],
  [{ mode: NODE, uids: [line], gids: [line] }, 'mode NODE takes no id mappings'],
  [{ mode: CONTAINER, uids: [line], gids: [line] }, 'unsupported user namespace mode CONTAINER'],
  [{ mode: TARGET, uids: [line], gids: [line] }, 'unsupported user namespace mode TARGET'],
])('%j is refused', async (usernsOptions, message) => {
  await expect(pod({ usernsOptions })).rejects.toThrow(message)
})

test('what the pod has of the node must be within its rights', async () => {
  await expect(pod({ pid: NODE })).rejects.toThrow("cannot use the node's PID namespace")
  await expect(pod({ ipc: NODE })).rejects.toThrow("cannot use the node's IPC namespace")
})

ifPossible("a container's mappings are its pod's", async () => {
  const one = await pod()
  const other = { mode: POD, uids: [{ ...line, hostId: 1 }], gids: [line] }
  for (const usernsOptions of [other, { mode: NODE }, undefined]) {
    const made = one.run('c', 'true', { linux: owned({ usernsOptions }) })
    await expect(made).rejects.toThrow("the container's user namespace differs from its sandbox's")
  }
})

ifPossible('a folder that the pod may not pass is named', async () => {
  const one = await pod()
  chmodSync(f.folder, 0o700)
  try {
    await expect(one.run('c', 'true')).rejects.toThrow(`user namespaces need ${f.folder} to be passed by any user`)
  } finally {
    chmodSync(f.folder, 0o711)
  }
})

test('the feature is told, as this machine has it', async () => {
  const { runtimeHandlers, features } = await f.runtime.runtimeService.status({ verbose: false })
  expect(runtimeHandlers.map((handler) => handler.features?.userNamespaces)).toEqual([
    obstacle === undefined,
    obstacle === undefined,
  ])
  expect(features?.userNamespacesHostNetwork).toBe(obstacle === undefined)
})

test('a disk that cannot be id-mapped is the reason for none, and a pod that wants one is refused', async () => {
  const at = (name: string): string => join(f.folder, 'overlay', name)
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(at(name), { recursive: true })
  const options = [`lowerdir=${at('lower')}`, `upperdir=${at('upper')}`, `workdir=${at('work')}`]
  mount({ source: 'overlay', target: at('merged'), type: 'overlay', options })
  const [stateDir, runDir] = [join(f.folder, 'state2'), join(f.folder, 'run2')]
  try {
    await using runtime = await openRuntime({
      stateDir,
      runDir,
      cni: f.cni,
      images: { ...f.images, root: at('merged') },
      cgroupParentDefault: f.cgroup,
    })
    const { runtimeHandlers } = await runtime.runtimeService.status({ verbose: false })
    expect(runtimeHandlers.map((handler) => handler.features?.userNamespaces)).toEqual([false, false])
    const config = f.pod({ linux: owned() })
    await expect(runtime.runtimeService.runPodSandbox({ config, runtimeHandler: '' })).rejects.toThrow(
      /^this machine has no user namespaces for pods: EINVAL: mount_setattr .*cannot be id-mapped; set hostUsers to true$/,
    )
    expect(readdirSync(at('merged'))).toEqual([])
  } finally {
    unmountIfMounted(join(runDir, 'ns'))
    unmount(at('merged'))
  }
})
