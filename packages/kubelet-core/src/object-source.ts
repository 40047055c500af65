// ConfigMaps, Secrets, Services and tokens from the API server.
import {
  clusterTrustBundles,
  configMaps,
  type Informer,
  type KubeClient,
  secrets,
  services,
  startInformer,
} from '@nodelet/kube-client'
import type { TokenRequest } from 'kubernetes-types/authentication/v1.d.ts'
import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import type { ConfigMap, Secret, Service } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from './clock.ts'
import { aborted } from './aborted.ts'
import type { KubeletConfiguration } from './configuration/types.ts'
import { cachedReader, freshReader } from './object-reader/cached.ts'
import type { ObjectReader } from './object-reader/reader.ts'
import { watchedReader } from './object-reader/watched.ts'
import { type Logger, silentLogger } from './log.ts'
import type { ChangingKind, ObjectSource, ReferredObject } from './objects.ts'

export interface ApiObjectSource extends ObjectSource {
  /** Begins to follow Services: containers wait for the first list. */
  start(): void
  close(): Promise<void>
}

export interface ApiObjectOptions {
  client: KubeClient
  /** `configMapAndSecretChangeDetectionStrategy`; default `Watch`. */
  strategy?: KubeletConfiguration['configMapAndSecretChangeDetectionStrategy']
  /** With `Cache`: how long an object is good for, in milliseconds; default one minute. */
  ttlMs?: () => number
  /** Without watches: after how long pods look again, in milliseconds; default one minute. */
  syncMs?: number
  /** Whether ClusterTrustBundles may be read: gate ClusterTrustBundleProjection; default false. */
  readsTrustBundles?: boolean
  clock?: Clock
  log?: Logger
}

type Changed = (kind: ChangingKind, namespace: string, name: string) => void

export function createApiObjects({
  client,
  strategy = 'Watch',
  ttlMs = () => 60_000,
  syncMs = 60_000,
  readsTrustBundles = false,
  clock = systemClock,
  log = silentLogger,
}: ApiObjectOptions): ApiObjectSource {
  const listeners = new Map<Changed, () => Iterable<ReferredObject>>()
  let following: Informer<Service> | undefined
  let bundles: Informer<ClusterTrustBundle> | undefined
  const tell = (kind: string, namespace: string, name: string): void => {
    for (const changed of listeners.keys()) changed(kind as ChangingKind, namespace, name)
  }
  const shown = (): ReferredObject[] => [...listeners.values()].flatMap((each) => [...each()])
  const onError = (error: unknown): void => log.warn({ err: error }, 'watching objects that pods refer to')

  const fresh = freshReader(client)
  const reader: ObjectReader = {
    Watch: () => watchedReader({ client, changed: tell, shown, clock, onError }),
    Cache: () => cachedReader(fresh, { ttlMs, clock }),
    Get: () => fresh,
  }[strategy]()

  /** Few pods ask for them, so that most nodes never do. */
  const followBundles = (): Informer<ClusterTrustBundle> => {
    const informer = startInformer(client, clusterTrustBundles, { onError })
    const told = ({ metadata }: ClusterTrustBundle): void => tell('ClusterTrustBundle', '', metadata?.name ?? '')
    informer.synced.then(
      () => {
        // What the first list brings is no change.
        let first = true
        const added = (bundle: ClusterTrustBundle): void => {
          if (!first) told(bundle)
        }
        informer.subscribe({ added, updated: told, deleted: told })
        first = false
      },
      () => undefined, // stopped before its first list
    )
    return informer
  }

  return {
    start() {
      following ??= startInformer(client, services, { onError })
    },
    configMap: async (namespace, name, signal) => reader.read<ConfigMap>(configMaps, namespace, name, signal),
    secret: async (namespace, name, signal) => reader.read<Secret>(secrets, namespace, name, signal),
    async services(signal) {
      following ??= startInformer(client, services, { onError })
      await aborted(following.synced, signal)
      return following.list()
    },
    knownServices: () => following?.list() ?? [],
    async trustBundles(signal) {
      if (!readsTrustBundles) return noObjects.trustBundles()
      bundles ??= followBundles()
      await aborted(bundles.synced, signal)
      return bundles.list()
    },
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
    rereadMs: reader.tells ? undefined : syncMs,
    outdate: reader.outdate,
    onChange(changed, shown = () => []) {
      listeners.set(changed, shown)
      return () => void listeners.delete(changed)
    },
    async close() {
      await Promise.all([following?.stop(), bundles?.stop(), reader.close()])
    },
  }
}

/** Without an API there is nothing to refer to: static pods cannot, by the rules of manifests. */
export const noObjects: ObjectSource = {
  configMap: async () => undefined,
  secret: async () => undefined,
  services: async () => [],
  knownServices: () => [],
  trustBundles: async () => {
    throw new Error('ClusterTrustBundle projection is not supported in static kubelet mode')
  },
  token: async (namespace, serviceAccount) => {
    throw new Error(`token of service account ${namespace}/${serviceAccount}: this kubelet has no API server`)
  },
  rereadMs: undefined,
  outdate: () => undefined,
  onChange: () => () => undefined,
}
