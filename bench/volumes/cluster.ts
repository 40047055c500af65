// What the API server has before a pod is made: ConfigMaps and Secrets, drivers, a claim that is bound.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openController } from '@nodelet/csi-node/controller'
import { createHostpathDriver } from '@nodelet/csi-node/hostpath'
import type { ServingDriver } from '@nodelet/csi-node/sdk'
import {
  configMaps,
  csiDrivers,
  mergePatch,
  persistentVolumeClaims,
  persistentVolumes,
  secrets,
} from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import { tmpfs } from '../../examples/csi-tmpfs/tmpfs.ts'
import { claimName, configName, secretName, text } from './kinds.ts'

const namespace = 'default'
const hostpath = 'hostpath.csi.k8s.io'

/** @returns the drivers' sockets @param register with the kubelet whose folder `rootDir` is */
export async function serveDrivers(folder: string, rootDir: string, register: boolean): Promise<ServedDrivers> {
  await using opening = new AsyncDisposableStack()
  const serve = async (driver: typeof tmpfs): Promise<ServingDriver> => {
    mkdirSync(join(rootDir, 'plugins', driver.name), { recursive: true })
    const endpoint = join(rootDir, 'plugins', driver.name, 'csi.sock')
    return opening.use(await driver.serve({ endpoint, rootDir, register }))
  }
  const sockets = {
    [tmpfs.name]: (await serve(tmpfs)).socketPath,
    [hostpath]: (
      await serve(
        createHostpathDriver({ name: hostpath, stateDir: join(folder, 'csi'), nodeId: 'bench', enableTopology: false }),
      )
    ).socketPath,
  }
  const done = opening.move()
  return { sockets, [Symbol.asyncDispose]: async () => done.disposeAsync() }
}

export interface ServedDrivers extends AsyncDisposable {
  sockets: Readonly<Record<string, string>>
}

/** A volume that the hostpath driver makes, and a claim bound to it, as controllers would have them. */
export async function makeClaim(client: KubeClient, endpoint: string, signal: AbortSignal): Promise<void> {
  for (const [name, mode] of [
    [tmpfs.name, 'Ephemeral'],
    [hostpath, 'Persistent'],
  ] as const) {
    await client.create(csiDrivers, {
      metadata: { name },
      spec: { attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: [mode] },
    })
  }
  const { volumeId } = await openController({ name: hostpath, endpoint }).createVolume(
    {
      name: claimName,
      requiredBytes: 1 << 20,
      capabilities: [{ volumeMode: 'Filesystem', accessMode: 'SINGLE_NODE_WRITER' }],
    },
    signal,
  )
  const accessModes = ['ReadWriteOnce']
  const capacity = { storage: '1Mi' }
  const volumeName = `pv-${claimName}`
  const claim = await client.create(persistentVolumeClaims, {
    metadata: { name: claimName, namespace },
    spec: { accessModes, resources: { requests: capacity }, volumeName, storageClassName: '' },
  })
  const claimRef = { kind: 'PersistentVolumeClaim', namespace, name: claimName, uid: claim.metadata?.uid ?? '' }
  await client.create(persistentVolumes, {
    metadata: { name: volumeName },
    spec: {
      accessModes,
      capacity,
      claimRef,
      persistentVolumeReclaimPolicy: 'Retain',
      csi: { driver: hostpath, volumeHandle: volumeId },
    },
  })
  const status = mergePatch({ status: { phase: 'Bound', accessModes, capacity } })
  await client.patch(persistentVolumeClaims, { name: claimName, namespace }, status, { subresource: 'status' })
}

export async function makeConfig(client: KubeClient, id: string): Promise<void> {
  await client.create(configMaps, { metadata: { name: configName(id), namespace }, data: { key: text } })
}

/** What the volumes of one pod show. */
export async function makeObjects(client: KubeClient, id: string): Promise<void> {
  await makeConfig(client, id)
  await client.create(secrets, {
    metadata: { name: secretName(id), namespace },
    data: { key: Buffer.from(text).toString('base64') },
  })
}

export async function changeConfig(client: KubeClient, id: string, value: string): Promise<void> {
  await client.patch(configMaps, { name: configName(id), namespace }, mergePatch({ data: { key: value } }))
}
