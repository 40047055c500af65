// ConfigMaps, Secrets, Services and tokens from the API server. What was read once is watched while it is in use.
import {
  configMaps,
  type Informer,
  type KubeClient,
  type KubeObject,
  type Resource,
  secrets,
  services,
  startInformer,
} from '@nodelet/kube-client'
import type { TokenRequest } from 'kubernetes-types/authentication/v1.d.ts'
import type { ConfigMap, Secret, Service } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Logger, silentLogger } from './log.ts'
import type { ObjectSource } from './objects.ts'

export interface ApiObjectSource extends ObjectSource {
  /** Begins to follow Services: containers wait for the first list. */
  start(): void
  close(): Promise<void>
}

export interface ApiObjectOptions {
  client: KubeClient
  clock?: Clock
  log?: Logger
}

interface Watched {
  informer: Informer<KubeObject>
  usedMs: number
}

/** An object that nobody read for so long is watched no more. */
const idleMs = 300_000

type Changed = (kind: 'ConfigMap' | 'Secret', namespace: string, name: string) => void

export function createApiObjects({
  client,
  clock = systemClock,
  log = silentLogger,
}: ApiObjectOptions): ApiObjectSource {
  const watched = new Map<string, Watched>()
  const listeners = new Set<Changed>()
  let following: Informer<Service> | undefined
  const onError = (error: unknown): void => log.warn({ err: error }, 'watching objects that pods refer to')

  const sweep = (): void => {
    for (const [key, { informer, usedMs }] of watched) {
      if (clock.now() - usedMs < idleMs) continue
      watched.delete(key)
      void informer.stop()
    }
  }

  const open = <T extends KubeObject>(resource: Resource<T>, namespace: string, name: string): Watched => {
    const informer = startInformer(client, resource, { namespace, fieldSelector: `metadata.name=${name}`, onError })
    const kind = resource.kind as 'ConfigMap' | 'Secret'
    informer.synced.then(
      () => {
        // What the first list brings is no change.
        let first = true
        const tell = (): void => {
          if (!first) for (const changed of listeners) changed(kind, namespace, name)
        }
        informer.subscribe({ added: tell, updated: tell, deleted: tell })
        first = false
      },
      () => undefined, // stopped before its first list
    )
    return { informer: informer as Informer<KubeObject>, usedMs: clock.now() }
  }

  const read = async <T extends KubeObject>(
    resource: Resource<T>,
    namespace: string,
    name: string,
    signal?: AbortSignal,
  ): Promise<T | undefined> => {
    sweep()
    const key = `${resource.kind}/${namespace}/${name}`
    const entry = watched.get(key) ?? open(resource, namespace, name)
    entry.usedMs = clock.now()
    watched.set(key, entry)
    await aborted(entry.informer.synced, signal)
    return entry.informer.get({ namespace, name }) as T | undefined
  }

  return {
    start() {
      following ??= startInformer(client, services, { onError })
    },
    configMap: async (namespace, name, signal) => read<ConfigMap>(configMaps, namespace, name, signal),
    secret: async (namespace, name, signal) => read<Secret>(secrets, namespace, name, signal),
    async services(signal) {
      following ??= startInformer(client, services, { onError })
      await aborted(following.synced, signal)
      return following.list()
    },
    knownServices: () => following?.list() ?? [],
    async token(namespace, serviceAccount, spec, signal) {
      const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/serviceaccounts/${encodeURIComponent(serviceAccount)}/token`
      const request: TokenRequest = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }
      const { body } = await client.raw({
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
        signal,
      })
      const { status } = JSON.parse(await body.text()) as TokenRequest
      if (!status?.token)
        throw new Error(`token of service account ${namespace}/${serviceAccount}: the answer has none`)
      return status
    },
    onChange(changed) {
      listeners.add(changed)
      return () => void listeners.delete(changed)
    },
    async close() {
      await Promise.all([following?.stop(), ...[...watched.values()].map(async ({ informer }) => informer.stop())])
      watched.clear()
    },
  }
}

/** Without an API there is nothing to refer to: static pods cannot, by the rules of manifests. */
export const noObjects: ObjectSource = {
  configMap: async () => undefined,
  secret: async () => undefined,
  services: async () => [],
  knownServices: () => [],
  token: async (namespace, serviceAccount) => {
    throw new Error(`token of service account ${namespace}/${serviceAccount}: this kubelet has no API server`)
  },
  onChange: () => () => undefined,
}

/** Waits for a promise, or the abort. @throws the signal's reason */
async function aborted(promise: Promise<void>, signal?: AbortSignal): Promise<void> {
  if (!signal) return promise
  signal.throwIfAborted()
  const { promise: gone, reject } = Promise.withResolvers<never>()
  const leave = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', leave, { once: true })
  try {
    await Promise.race([promise, gone])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
