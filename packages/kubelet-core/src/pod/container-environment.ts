// The environment of a container: what it refers to, gathered; then its variables in order.
import type { ConfigMap, Container, EnvVar, Pod, Secret, Service } from 'kubernetes-types/core/v1.d.ts'
import type { ObjectSource } from '../objects.ts'
import { ContainerConfigError } from './config-error.ts'
import { expand, serviceEnvironment } from './environment.ts'
import { type FieldFacts, fieldValue, resourceValue } from './field-ref.ts'

type Kind = 'ConfigMap' | 'Secret'

/** What the environment of a container refers to, read. */
export interface EnvironmentSources {
  services: readonly Service[]
  /** Key: kind and name. Missing objects are missing here. */
  objects: ReadonlyMap<string, Record<string, string>>
}

const keyOf = (kind: Kind, name: string): string => `${kind}/${name}`

/** Reads all ConfigMaps and Secrets that the environment refers to, at the same time, and the Services. */
export async function readEnvironmentSources(
  pod: Pod,
  container: Container,
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<EnvironmentSources> {
  const namespace = pod.metadata?.namespace ?? 'default'
  const wanted = new Map<string, [Kind, string]>()
  for (const [kind, name] of references(container)) wanted.set(keyOf(kind, name), [kind, name])
  const services = source.services()
  const read = await Promise.all(
    [...wanted].map(async ([key, [kind, name]]): Promise<[string, Record<string, string> | undefined]> => [
      key,
      kind === 'ConfigMap'
        ? configMapData(await source.configMap(namespace, name, signal))
        : secretData(await source.secret(namespace, name, signal)),
    ]),
  )
  const objects = new Map(
    read.flatMap(([key, data]): [string, Record<string, string>][] => (data ? [[key, data]] : [])),
  )
  return { services: await services, objects }
}

function references(container: Container): [Kind, string][] {
  const all: [Kind, string][] = []
  for (const { configMapRef, secretRef } of container.envFrom ?? []) {
    if (configMapRef?.name) all.push(['ConfigMap', configMapRef.name])
    if (secretRef?.name) all.push(['Secret', secretRef.name])
  }
  for (const { valueFrom } of container.env ?? []) {
    if (valueFrom?.configMapKeyRef?.name) all.push(['ConfigMap', valueFrom.configMapKeyRef.name])
    if (valueFrom?.secretKeyRef?.name) all.push(['Secret', valueFrom.secretKeyRef.name])
  }
  return all
}

/** The data of a ConfigMap as text: environments take no binary data. */
const configMapData = (object: ConfigMap | undefined): Record<string, string> | undefined =>
  object && { ...object.data }

const secretData = (object: Secret | undefined): Record<string, string> | undefined =>
  object &&
  Object.fromEntries(
    Object.entries(object.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
  )

/**
 * The variables of a container: Services, then `envFrom`, then `env`. Pure.
 * @throws ContainerConfigError naming what is missing
 */
export function containerEnvironment(
  pod: Pod,
  container: Container,
  sources: EnvironmentSources,
  facts: FieldFacts,
): Map<string, string> {
  const namespace = pod.metadata?.namespace ?? 'default'
  const services = serviceEnvironment(sources.services, namespace, pod.spec?.enableServiceLinks)
  const result = new Map<string, string>()
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
    const [kind, ref] = configMapRef ? (['ConfigMap', configMapRef] as const) : (['Secret', secretRef] as const)
    const data = objectData(kind, ref?.name ?? '', ref?.optional, sources)
    for (const [key, value] of Object.entries(data ?? {})) result.set(prefix + key, value)
  }
  for (const variable of container.env ?? []) {
    const value = valueOf(variable, pod, container, sources, facts, result, services)
    if (value !== undefined) result.set(variable.name, value)
  }
  for (const [name, value] of services) if (!result.has(name)) result.set(name, value)
  return result
}

function valueOf(
  { value, valueFrom }: EnvVar,
  pod: Pod,
  container: Container,
  sources: EnvironmentSources,
  facts: FieldFacts,
  before: ReadonlyMap<string, string>,
  services: ReadonlyMap<string, string>,
): string | undefined {
  if (!valueFrom) return expand(value ?? '', before, services)
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom
  if (fieldRef) return fieldValue(pod, fieldRef, facts)
  if (resourceFieldRef) return resourceValue(pod, container, resourceFieldRef, facts)
  const [kind, ref] = configMapKeyRef ? (['ConfigMap', configMapKeyRef] as const) : (['Secret', secretKeyRef] as const)
  if (!ref) throw new ContainerConfigError('env: valueFrom has no source that is known here')
  const data = objectData(kind, ref.name ?? '', ref.optional, sources)
  const found = data?.[ref.key]
  if (found === undefined && !ref.optional) {
    throw new ContainerConfigError(`couldn't find key ${ref.key} in ${kind} ${pod.metadata?.namespace}/${ref.name}`)
  }
  return found
}

function objectData(
  kind: Kind,
  name: string,
  optional: boolean | undefined,
  { objects }: EnvironmentSources,
): Record<string, string> | undefined {
  const data = objects.get(keyOf(kind, name))
  if (!data && !optional) throw new ContainerConfigError(`${kind.toLowerCase()} "${name}" not found`)
  return data
}
