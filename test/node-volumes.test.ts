// Volumes of a whole node, as a user has them: a driver that is itself a pod, claims of every kind, and all that is done to
// them in the wrong order.
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { detachLoop, readLoops } from '@nodelet/linux'
import type { Container, PersistentVolumeClaim, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDemoImage } from '../packages/node-agent/src/demo/image.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { machineState } from './state.ts'

/** `NODELET_MANY_PODS=50` has as many at once as a full node. */
const manyPods = Number(process.env['NODELET_MANY_PODS'] ?? 8)
const root = resolve(import.meta.dirname, '..')
const image = 'localhost/nodelet-demo:1'
const driverName = 'hostpath.csi.k8s.io'
const eventually = { timeout: 60_000, interval: 100 }
let machine: TestMachine
let agent: Awaited<ReturnType<TestMachine['up']>>

beforeAll(async () => {
  machine = await makeMachine()
  // Kubelets look at claims that grow as often as they look at their pods.
  writeFileSync(
    kubeletConfig(),
    'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nsyncFrequency: 2s\n',
  )
  agent = await machine.up('--kubelet-config', kubeletConfig())
  const layout = await makeDemoImage(join(machine.folder, 'image'), image)
  expect(await machine.nodelet('image', 'import', layout, ...machine.flags)).toMatchObject({ code: 0 })
})
afterAll(async () => {
  // Those of the driver, which a reset ends before it can give them back.
  const mine = existsSync(join(driverData(), 'volumes')) ? volumesOfDriver() : []
  for (const { path, file } of readLoops()) if (mine.some((name) => file.includes(`/volumes/${name}`))) detachLoop(path)
  await machine[Symbol.asyncDispose]()
})

const kubeletConfig = (): string => join(machine.folder, 'kubelet.yaml')
const kubelet = (): string => join(machine.folder, 'state/kubelet')
const driverData = (): string => join(machine.folder, 'driver')
const volumesOfDriver = (): string[] => readdirSync(join(driverData(), 'volumes'))
/** What is mounted in the kubelet's folder, save for the driver's own. */
const mounts = async (): Promise<string[]> => {
  const { metadata } = await podNamed('driver')
  const all = (await machineState(machine)).mounts.filter((line) => line.includes(`${kubelet()}/`))
  return all.filter((line) => !line.includes(metadata?.uid ?? 'none'))
}

const apply = async (...items: object[]): Promise<unknown> =>
  machine.kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'apply', '-f', '-')
const podNamed = async (name: string): Promise<Pod> => {
  const json = await machine.kubectl('get', 'pod', name, '-o', 'json', '--ignore-not-found')
  return (json === '' ? {} : JSON.parse(json)) as Pod
}
const ready = async (...names: string[]): Promise<unknown> =>
  machine.kubectl('wait', '--for=condition=Ready', ...names.map((name) => `pod/${name}`), '--timeout=80s')
const sh = async (pod: string, script: string): Promise<string> =>
  machine.kubectl('exec', pod, '--', 'sh', '-c', script)
const gone = async (...names: string[]): Promise<void> => {
  for (const name of names) await expect.poll(async () => podNamed(name), eventually).toEqual({})
}
const eventsOf = async (name: string): Promise<string[]> => {
  const { items } = JSON.parse(
    await machine.kubectl('get', 'events', '-o', 'json', '--field-selector', `involvedObject.name=${name}`),
  ) as { items: { reason: string; message: string }[] }
  return items.map(({ reason, message }) => `${reason}: ${message}`)
}

const podOf = (name: string, container: Partial<Container>, volumes: Volume[], more: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels: { app: name } },
  spec: {
    terminationGracePeriodSeconds: 1,
    automountServiceAccountToken: false,
    hostNetwork: true,
    ...more,
    containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent', ...container }],
    volumes,
  },
})
const stay = (script = ':'): Pick<Container, 'command'> => ({
  command: ['sh', '-c', `trap 'exit 0' TERM; ${script}; while :; do sleep 1 & wait $!; done`],
})
const fromClaim = (name: string, more: object = {}): Volume => ({
  name,
  persistentVolumeClaim: { claimName: name, ...more },
})
const classOf = (name: string, parameters: object): object => ({
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name },
  provisioner: driverName,
  allowVolumeExpansion: true,
  parameters,
})
const claimOf = (name: string, storage: string, spec: PersistentVolumeClaim['spec'] = {}): object => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } }, ...spec },
})

/** The driver with what it needs of this machine: its programs and these sources. */
function driverPod(): object {
  const folder = (path: string, more: object = {}) => ({ path, readOnly: true, ...more })
  const folders = [
    folder(kubelet(), { readOnly: false, mountPropagation: 'Bidirectional' }),
    folder('/dev', { readOnly: false }),
    folder(driverData(), { readOnly: false }),
    folder(root),
    ...['/usr', '/lib', '/lib64', '/sbin'].filter(existsSync).map((path) => folder(path)),
    // Its own node is a package, or a link to one.
    ...(process.execPath.startsWith(`${root}/`) ? [] : [folder(dirname(process.execPath))]),
  ]
  const program = join(import.meta.dirname, 'hostpath-driver.ts')
  return podOf(
    'driver',
    {
      securityContext: { privileged: true },
      env: [{ name: 'PATH', value: '/usr/sbin:/usr/bin:/sbin:/bin' }],
      command: [
        process.execPath,
        '--conditions=@nodelet/source',
        program,
        '--root-dir',
        kubelet(),
        '--statedir',
        driverData(),
      ],
      volumeMounts: folders.map(({ path, ...mount }, index) => ({ name: `f${index}`, mountPath: path, ...mount })),
    },
    folders.map(({ path }, index) => ({ name: `f${index}`, hostPath: { path, type: 'DirectoryOrCreate' } })),
    { terminationGracePeriodSeconds: 5 },
  )
}
/** Processes of the driver, as the machine sees them. */
const driverPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return args.includes(driverData()) && args.some((arg) => arg.endsWith('hostpath-driver.ts'))
      } catch {
        return false // it has just ended
      }
    })

const kinds = (): object =>
  podOf(
    'kinds',
    {
      ...stay('for d in /ext4 /xfs /sub /folder; do echo $HOSTNAME >> $d/starts; done'),
      volumeMounts: [
        { name: 'ext4', mountPath: '/ext4' },
        { name: 'ext4', mountPath: '/sub', subPath: 'a/b' },
        { name: 'xfs', mountPath: '/xfs' },
        { name: 'xfs', mountPath: '/xfs-read', readOnly: true },
        { name: 'folder', mountPath: '/folder' },
      ],
      volumeDevices: [{ name: 'raw', devicePath: '/dev/raw' }],
    },
    ['ext4', 'xfs', 'folder', 'raw'].map((name) => fromClaim(name)),
    { securityContext: { fsGroup: 4242 } },
  )

test('a driver that is a pod comes after the pod that waits for it; claims of each kind are in its containers', async () => {
  const settings = { attachRequired: false, fsGroupPolicy: 'File', volumeLifecycleModes: ['Persistent', 'Ephemeral'] }
  await apply(
    { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: driverName }, spec: settings },
    classOf('ext4', { backing: 'image', 'csi.storage.k8s.io/fstype': 'ext4' }),
    classOf('xfs', { backing: 'image', 'csi.storage.k8s.io/fstype': 'xfs' }),
    classOf('folder', {}),
    claimOf('ext4', '16Mi', { storageClassName: 'ext4' }),
    claimOf('xfs', '320Mi', { storageClassName: 'xfs', accessModes: ['ReadWriteOncePod'] }),
    claimOf('folder', '1Mi', { storageClassName: 'folder' }),
    claimOf('raw', '4Mi', { storageClassName: 'folder', volumeMode: 'Block' }),
    kinds(),
    driverPod(),
  )
  await ready('kinds', 'driver')
  expect(
    await sh('kinds', 'cat /ext4/starts /sub/starts /ext4/a/b/starts /xfs-read/starts /folder/starts | wc -l'),
  ).toBe('5\n')
  expect(await sh('kinds', 'stat -c %g:%a /ext4 /ext4/a /xfs /folder')).toBe(
    '4242:2775\n4242:2775\n4242:2775\n4242:2777\n',
  )
  const write =
    'touch /xfs-read/x 2>&1; printf mark | dd of=/dev/raw conv=notrunc,fsync 2>/dev/null; head -c 4 /dev/raw'
  expect(await sh('kinds', write)).toBe('touch: /xfs-read/x: Read-only file system\nmark')
  expect((await eventsOf('kinds')).filter((event) => event.startsWith('SuccessfulMountVolume'))).toHaveLength(2)
}, 240_000)

const usingClaim = (name: string, claim: string, more: object = {}): object =>
  podOf(name, { ...stay(), volumeMounts: [{ name: claim, mountPath: '/data' }] }, [fromClaim(claim, more)])

test('a volume is shared on the node, and read only where a pod says so; one of ReadWriteOncePod is not; they grow in use, by a driver that was killed', async () => {
  const [pid = 0] = driverPids()
  const socket = join(kubelet(), `plugins_registry/${driverName}-reg.sock`)
  const { ctimeMs } = statSync(socket)
  process.kill(pid, 'SIGKILL')
  await expect.poll(() => statSync(socket, { throwIfNoEntry: false })?.ctimeMs ?? ctimeMs, eventually).not.toBe(ctimeMs)
  for (const [claim, storage] of Object.entries({ xfs: '352Mi', raw: '8Mi' })) {
    const spec = { resources: { requests: { storage } } }
    await machine.kubectl('patch', 'pvc', claim, '-p', JSON.stringify({ spec }))
  }
  await apply(usingClaim('reader', 'ext4', { readOnly: true }), usingClaim('second', 'xfs'))
  await ready('reader', 'kinds')
  expect(await sh('reader', 'wc -l < /data/starts; touch /data/x 2>&1; :')).toBe(
    '1\ntouch: /data/x: Read-only file system\n',
  )
  const why = 'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode'
  await expect.poll(async () => (await eventsOf('second')).join('\n'), eventually).toContain(why)
  await machine.kubectl('delete', 'pod', 'second', 'reader', '--wait=false')
  const grown = async (): Promise<string[]> =>
    (await eventsOf('kinds')).filter((event) => event.startsWith('FileSystemResizeSuccessful'))
  await expect.poll(grown, eventually).toHaveLength(2)
  const said = await sh('kinds', `df -Pk /xfs | awk 'NR > 1 { print $2 }'; blockdev --getsize64 /dev/raw`)
  const [xfsKiB = 0, rawBytes] = said.trim().split('\n').map(Number)
  expect([xfsKiB > 270 << 10, rawBytes]).toEqual([true, 8 << 20])
  const columns = 'jsonpath={range .items[*]}{.metadata.name}={.status.capacity.storage} {end}'
  await expect
    .poll(async () => machine.kubectl('get', 'pvc', '-o', columns), eventually)
    .toBe('ext4=16Mi folder=1Mi raw=8Mi xfs=352Mi ')
  await gone('second', 'reader')
}, 240_000)

test('a driver that goes before the pods that need it, and an agent that is killed meanwhile', async () => {
  await machine.kubectl('delete', 'pod', 'driver')
  const held = await mounts()
  await apply(usingClaim('late', 'folder'))
  const missing = `driver name ${driverName} not found in the list of registered CSI drivers`
  await expect.poll(async () => (await eventsOf('late')).join('\n'), eventually).toContain(missing)
  const before = await podNamed('kinds')
  agent.kill('SIGKILL')
  await once(agent, 'exit')
  agent = await machine.up('--kubelet-config', kubeletConfig())
  expect((await podNamed('kinds')).status?.containerStatuses).toEqual(before.status?.containerStatuses)
  expect(await sh('kinds', 'head -c 4 /dev/raw; cat /ext4/starts | wc -l')).toBe('mark1\n')
  await machine.kubectl('delete', 'pod', 'kinds', '--wait=false')
  await expect.poll(async () => (await podNamed('kinds')).status?.phase, eventually).toBe('Succeeded')
  expect((await mounts()).filter((line) => line.includes('kubernetes.io~csi'))).toEqual(
    held.filter((line) => line.includes('kubernetes.io~csi')),
  )
  await apply(driverPod())
  await ready('late')
  await gone('kinds')
  expect(await sh('late', 'cat /data/starts | wc -l')).toBe('1\n')
  await machine.kubectl('delete', 'pod', 'late')
  expect(await mounts()).toEqual([])
}, 240_000)

test('data are there for the next pod, and for a clone of the claim; a snapshot that cannot be is told', async () => {
  const clone = { kind: 'PersistentVolumeClaim', name: 'ext4' }
  const snapshot = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'none' }
  await apply(
    claimOf('clone', '16Mi', { storageClassName: 'ext4', dataSource: clone }),
    claimOf('restored', '16Mi', { storageClassName: 'ext4', dataSource: snapshot }),
    usingClaim('cloned', 'clone'),
    kinds(),
  )
  await ready('kinds', 'cloned')
  expect(await sh('kinds', 'wc -l < /ext4/starts; wc -l < /sub/starts; head -c 4 /dev/raw')).toBe('2\n2\nmark')
  expect(await sh('cloned', 'wc -l < /data/starts')).toBe('1\n')
  await expect
    .poll(async () => (await eventsOf('restored')).join('\n'), eventually)
    .toContain('VolumeSnapshot is not a source of volumes here')
  await machine.kubectl('delete', 'pod', 'cloned', '--wait=false')
  await machine.kubectl('delete', 'pvc', 'clone', 'restored', '--wait=false')
}, 240_000)

test('readers in a container never see half of a ConfigMap, and see what it is now', async () => {
  const keys = Array.from({ length: 20 }, (_, index) => `k${index}`)
  const config = (value: string): object => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'shown' },
    data: Object.fromEntries(keys.map((key) => [key, `${value}\n`])),
  })
  // All files of one moment are in one folder; a reader that comes too late for it finds none of them.
  const read = `while :; do d=$(readlink /shown/..data); s=$(cat /shown/$d/* 2>/dev/null) && echo "$s" | sort -u | tr '\n' ' ' >> /shown/log/seen && echo >> /shown/log/seen; usleep 10000; done`
  const log: Volume = { name: 'log', emptyDir: {} }
  await apply(
    config('v0'),
    podOf(
      'shows',
      {
        ...stay(`(${read}) & :`),
        volumeMounts: ['shown', 'shown/log'].map((path) => ({ name: basename(path), mountPath: `/${path}` })),
      },
      [log, { name: 'shown', configMap: { name: 'shown' } }],
    ),
  )
  await ready('shows')
  for (let version = 1; version <= 5; version += 1) {
    await apply(config(`v${version}`))
    await expect.poll(async () => sh('shows', 'cat /shown/k7'), eventually).toBe(`v${version}\n`)
  }
  expect(await sh('shows', 'touch /shown/k7 /shown/new 2>&1; echo')).toContain('Read-only file system')
  const seen = (await sh('shows', 'sort -u /shown/log/seen')).trim().split('\n')
  expect(seen.map((line) => line.trim())).toEqual(['v0', 'v1', 'v2', 'v3', 'v4', 'v5'])
  await machine.kubectl('delete', 'pod', 'shows', '--wait=false')
}, 180_000)

test('what is deleted in the wrong order stays for who uses it, and goes with them: claims, volumes, a namespace, a pod by force', async () => {
  const phases = async (kind: string): Promise<string> =>
    machine.kubectl('get', kind, '-o', 'jsonpath={.items[*].metadata.deletionTimestamp}')
  const names = volumesOfDriver()
  await machine.kubectl('delete', 'pvc', 'ext4', 'xfs', 'raw', 'folder', '--wait=false')
  await machine.kubectl('delete', 'pv', '--all', '--wait=false')
  expect(await sh('kinds', 'echo more >> /ext4/starts; wc -l < /ext4/starts; head -c 4 /dev/raw')).toBe('3\nmark')
  expect((await phases('pvc')).split(' ')).toHaveLength(4)
  await apply(usingClaim('tardy', 'ext4'))
  await expect
    .poll(async () => (await eventsOf('tardy')).join('\n'), eventually)
    .toContain('persistentvolumeclaim "ext4" is being deleted')
  await machine.kubectl('delete', 'pod', 'tardy', '--wait=false')
  await machine.kubectl('delete', 'pod', 'kinds', '--force', '--grace-period=0')
  const team = (name: string): object => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  const inTeam = (object: object): object => ({
    ...object,
    metadata: { ...(object as Pod).metadata, namespace: 'team' },
  })
  await apply(
    team('team'),
    inTeam(claimOf('own', '1Mi', { storageClassName: 'folder' })),
    inTeam(usingClaim('user', 'own')),
  )
  await machine.kubectl('wait', '-n', 'team', '--for=condition=Ready', 'pod/user', '--timeout=80s')
  await machine.kubectl('delete', 'namespace', 'team', '--timeout=80s')
  await expect.poll(async () => machine.kubectl('get', 'pv,pvc', '-A', '-o', 'name'), eventually).toBe('')
  await expect.poll(volumesOfDriver, eventually).toEqual([])
  await expect.poll(mounts, eventually).toEqual([])
  // One that was mounted goes a moment after its mount.
  const loops = (): unknown[] => readLoops().filter(({ file }) => names.some((name) => file.includes(name)))
  await expect.poll(loops, eventually).toEqual([])
}, 240_000)

test(`${manyPods} pods of five volumes start while a driver hangs; the pod that needs it runs when it answers`, async () => {
  for (const pid of driverPids()) process.kill(pid, 'SIGSTOP')
  const ids = Array.from({ length: manyPods }, (_, index) => `many-${index}`)
  const volumes: Volume[] = [
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '64Ki' } },
    { name: 'scratch', emptyDir: {} },
    { name: 'config', configMap: { name: 'shown' } },
    { name: 'secret', secret: { secretName: 'hidden' } },
    {
      name: 'all',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token' } },
          { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
        ],
      },
    },
  ]
  const check =
    'set -e; for v in memory scratch; do echo > /$v/x; done; cat /config/k1 /secret/key /all/name; test -s /all/token'
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }))
  await apply(
    claimOf('stuck', '1Mi', { storageClassName: 'folder', volumeName: '' }),
    usingClaim('stuck', 'stuck'),
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'hidden' }, stringData: { key: 'k' } },
    ...ids.map((id) => podOf(id, { ...stay(check), volumeMounts }, volumes)),
  )
  await ready(...ids)
  const said = await Promise.all(ids.map(async (id) => machine.kubectl('logs', id)))
  expect(said).toEqual(ids.map((id) => `v5\nk${id}`))
  expect((await podNamed('stuck')).status?.phase).toBe('Pending')
  for (const pid of driverPids()) process.kill(pid, 'SIGCONT')
  await ready('stuck')
  await machine.kubectl('delete', 'pod', ...ids, '--grace-period=0', '--force')
  await expect.poll(async () => (await mounts()).filter((line) => !line.includes('csi')), eventually).toEqual([])
}, 200_000)

test('a reset unmounts what a driver in a pod has mounted, and leaves its data', async () => {
  await sh('stuck', 'echo precious > /data/kept')
  const [volume = ''] = volumesOfDriver()
  agent.kill('SIGTERM')
  await once(agent, 'exit')
  expect(await machine.nodelet('reset', ...machine.flags)).toMatchObject({ code: 0, stderr: '' })
  expect((await machineState(machine)).mounts.filter((line) => line.includes(kubelet()))).toEqual([])
  expect([driverPids(), existsSync(kubelet())]).toEqual([[], false])
  expect(readFileSync(join(driverData(), 'volumes', volume, 'kept'), 'utf8')).toBe('precious\n')
})
