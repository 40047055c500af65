// Pods with `hostUsers: false`: which ids they have, where that is kept, and what the runtime is told.
import { existsSync } from 'node:fs'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NamespaceMode, StatusResponse, type UserNamespace } from '@nodelet/cri-api'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { openUserNamespaces } from '../src/pod/user-namespaces.ts'
import { folder, memory, open, podOf, put, runningOf, useFixture } from './fixture.ts'
import { until } from './until.ts'

useFixture()

const mapping = (hostId: number): object => ({ hostId, containerId: 0, length: 65_536 })
const record = (hostId: number): object => ({ uidMappings: [mapping(hostId)], gidMappings: [mapping(hostId)] })
const recordOf = (uid: string): string => join(folder, 'root/pods', uid, 'userns')

describe('the ids of pods', () => {
  const openIds = async (pods = 3) => openUserNamespaces(join(folder, 'root'), { first: 65_536, count: pods * 65_536 })

  it('begin at the second block; each pod keeps its own, over restarts as well', async () => {
    const ids = await openIds()
    const given = await Promise.all(['a', 'b', 'a', 'c'].map(async (uid) => (await ids.take(uid)).hostId))
    expect(given).toEqual([65_536, 131_072, 65_536, 196_608])
    expect(JSON.parse(await readFile(recordOf('b'), 'utf8'))).toEqual(record(131_072))
    await expect(ids.take('d')).rejects.toThrow(/all 3 ranges of this node are taken/)
    await ids.release('b')
    expect(existsSync(recordOf('b'))).toBe(false)
    const after = await openIds()
    expect(after.uids().toSorted()).toEqual(['a', 'c'])
    expect(await after.take('c')).toEqual(mapping(196_608))
    expect(await after.take('d')).toEqual(mapping(131_072))
  })

  it('are free again when they could not be recorded', async () => {
    await mkdir(join(folder, 'root/pods'), { recursive: true })
    await writeFile(join(folder, 'root/pods/a'), 'in the way')
    const ids = await openIds(1)
    await expect(ids.take('a')).rejects.toThrow(/EEXIST|ENOTDIR/)
    expect(await ids.take('b')).toEqual(mapping(65_536))
  })

  it.for([
    ['not JSON', '{'],
    ['the ids of the node', JSON.stringify(record(0))],
    ['ids between two blocks', JSON.stringify(record(70_000))],
    ['groups of others', JSON.stringify({ uidMappings: [mapping(65_536)], gidMappings: [mapping(131_072)] })],
  ] as const)('are not guessed from a record with %s', async ([, text]) => {
    await mkdir(join(folder, 'root/pods/a'), { recursive: true })
    await writeFile(recordOf('a'), text)
    await expect(openIds()).rejects.toThrow(/pods\/a\/userns cannot be read: .*remove it when no container/s)
  })
})

describe('what the runtime is told', () => {
  const containers = [{ name: 'main', image: 'busybox', volumeMounts: [{ name: 'work', mountPath: '/work' }] }]
  const spec = { hostUsers: false, containers, volumes: [{ name: 'work', emptyDir: {} }] }
  let supported: boolean | undefined

  beforeEach(() => {
    supported = true
    const { status } = memory.runtimeService
    memory.runtimeService.status = async (request, options) => {
      const handlers = supported === undefined ? [] : [{ name: '', features: { userNamespaces: supported } }]
      const { runtimeHandlers } = StatusResponse.fromPartial({ runtimeHandlers: handlers })
      return { ...(await status(request, options)), runtimeHandlers }
    }
  })

  it('the ids, in the sandbox, its containers and their volumes; they end with the pod', async () => {
    const runPodSandbox = vi.spyOn(memory.runtimeService, 'runPodSandbox')
    const createContainer = vi.spyOn(memory.runtimeService, 'createContainer')
    const kubelet = await open()
    await put('web', spec)
    const uid = (await runningOf(kubelet, 'web')).metadata?.uid ?? ''
    const ids = [mapping(65_536)]
    const asked = { mode: NamespaceMode.POD, uids: ids, gids: ids } as UserNamespace
    const sandbox = runPodSandbox.mock.calls[0]?.[0].config?.linux
    expect(sandbox?.securityContext?.namespaceOptions?.usernsOptions).toEqual(asked)
    const container = createContainer.mock.calls[0]?.[0].config
    expect(container?.linux?.securityContext?.namespaceOptions?.usernsOptions).toEqual(asked)
    const mounts = container?.mounts.map(({ containerPath, uidMappings, gidMappings }) => [
      containerPath,
      uidMappings,
      gidMappings,
    ])
    expect(mounts).toEqual([
      ['/work', ids, ids],
      ['/etc/hosts', [], []],
      ['/dev/termination-log', [], []],
    ])
    const hosts = await stat(join(folder, 'root/pods', uid, 'etc-hosts'))
    expect([hosts.uid, hosts.gid]).toEqual([65_536, 65_536])
    expect(JSON.parse(await readFile(recordOf(uid), 'utf8'))).toEqual(record(65_536))
    await put('web', { ...spec, hostUsers: true })
    await until(() => !existsSync(recordOf(uid)))
    await until(() => createContainer.mock.calls.length === 2)
    const plain = createContainer.mock.calls[1]?.[0].config
    expect(plain?.linux?.securityContext?.namespaceOptions?.usernsOptions?.mode).toBe(NamespaceMode.NODE)
    expect(plain?.mounts[0]?.uidMappings).toEqual([])
  })

  it.for([
    [false, 'does not support user namespaces'],
    [undefined, 'is not known'],
  ] as const)('nothing when its handler has them: %s', async ([has, message]) => {
    supported = has
    const told: string[] = []
    const tell = (...words: unknown[]): void => void told.push(JSON.stringify(words))
    const runPodSandbox = vi.spyOn(memory.runtimeService, 'runPodSandbox')
    const kubelet = await open({ log: { debug: tell, info: tell, warn: tell, error: tell } })
    await put('web', spec)
    await until(() => told.find((line) => line.includes('FailedCreatePodSandBox') && line.includes(message)))
    expect(runPodSandbox).not.toHaveBeenCalled()
    expect(existsSync(recordOf(podOf(kubelet, 'web')?.metadata?.uid ?? ''))).toBe(false)
  })
})
