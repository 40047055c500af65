// Pods through the API, as a client sees them come and go.
import { pods, strategicPatch } from '@nodelet/kube-client'
import type { Informer, KubeClient } from '@nodelet/kube-client'
import type { Pod, Volume } from 'kubernetes-types/core/v1.d.ts'

const port = 8080
const probes = {
  readinessProbe: { httpGet: { path: '/', port } },
  livenessProbe: { tcpSocket: { port } },
}
/** Of pods with probes: they are ready when somebody says so, too. */
const gate = 'nodelet.dev/bench'
const serve = `mkdir /w; echo ok >/w/index.html; httpd -p ${port} -h /w; `

export interface Api {
  client: KubeClient
  informer: Informer<Pod>
  image: string
}

/** One container that ends at once when it is told to; with two probes it serves them too. Volumes are at `/NAME`. */
const podOf = (name: string, image: string, probed: boolean, volumes: readonly Volume[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    ...(probed && { readinessGates: [{ conditionType: gate }] }),
    containers: [
      {
        name: 'main',
        image,
        imagePullPolicy: 'IfNotPresent',
        command: ['/bin/sh', '-c', `trap 'exit 0' TERM; ${probed ? serve : ''}sleep 100000 & wait`],
        ...(probed && probes),
        ...(volumes.length > 0 && {
          volumeMounts: volumes.map((volume) => ({ name: volume.name, mountPath: `/${volume.name}` })),
        }),
      },
    ],
    ...(volumes.length > 0 && { volumes: [...volumes] }),
  },
})

/** Creates pods at once and answers, for each, the milliseconds from its request until the watch shows it Running; with probes, its containers ready. */
export async function run(
  { client, informer, image }: Api,
  names: readonly string[],
  { probed = false, volumes = [] }: { probed?: boolean; volumes?: readonly Volume[] } = {},
): Promise<number[]> {
  const begun = new Map<string, number>()
  const waiting = new Map(names.map((name) => [name, Promise.withResolvers<number>()]))
  const stop = informer.subscribe({
    updated: ({ metadata, status }) => {
      const name = metadata?.name ?? ''
      if (probed ? isTrue(status, 'ContainersReady') : status?.phase === 'Running')
        waiting.get(name)?.resolve(performance.now() - (begun.get(name) ?? Number.NaN))
    },
  })
  try {
    const create = async (name: string): Promise<void> => {
      begun.set(name, performance.now())
      await client.create(pods, podOf(name, image, probed, volumes))
    }
    await Promise.all(names.map(create))
    return await Promise.all([...waiting.values()].map(async ({ promise }) => promise))
  } finally {
    stop()
  }
}

const isTrue = (status: Pod['status'], condition: string): boolean =>
  status?.conditions?.some(({ type, status: is }) => type === condition && is === 'True') ?? false

/** Opens the gates of pods at once and answers the milliseconds until the watch shows all of them Ready. */
export async function makeReady({ client, informer }: Api, names: readonly string[]): Promise<number> {
  const waiting = new Set(names)
  const done = Promise.withResolvers<void>()
  const stop = informer.subscribe({
    updated({ metadata, status }) {
      if (isTrue(status, 'Ready')) waiting.delete(metadata?.name ?? '')
      if (waiting.size === 0) done.resolve()
    },
  })
  try {
    const began = performance.now()
    const patch = strategicPatch({ status: { conditions: [{ type: gate, status: 'True' }] } })
    const open = async (name: string): Promise<unknown> =>
      client.patch(pods, { namespace: 'default', name }, patch, { subresource: 'status' })
    await Promise.all(names.map(open))
    await done.promise
    return performance.now() - began
  } finally {
    stop()
  }
}

/** Deletes pods at once and answers, for each, the milliseconds from its request until the watch no longer shows it. */
export async function remove({ client, informer }: Api, names: readonly string[]): Promise<number[]> {
  const begun = new Map<string, number>()
  const waiting = new Map(names.map((name) => [name, Promise.withResolvers<number>()]))
  const stop = informer.subscribe({
    deleted: ({ metadata }) => {
      const name = metadata?.name ?? ''
      waiting.get(name)?.resolve(performance.now() - (begun.get(name) ?? Number.NaN))
    },
  })
  try {
    const drop = async (name: string): Promise<void> => {
      begun.set(name, performance.now())
      await client.delete(pods, { namespace: 'default', name })
    }
    await Promise.all(names.map(drop))
    return await Promise.all([...waiting.values()].map(async ({ promise }) => promise))
  } finally {
    stop()
  }
}
