// The environment of a container: what it refers to, gathered; then its variables in order.
import type { ConfigMap, Container, EnvVar, Pod, Secret, Service } from 'kubernetes-types/core/v1.d.ts'
import type { ObjectSource } from '../objects.ts'
import { ContainerConfigError } from './config-error.ts'
import { readSubPath } from '../volume/sub-path.ts'
import { valueInEnvFile } from './env-file.ts'
import { expand, serviceEnvironment } from './environment.ts'
import { isStatic } from './labels.ts'
import { type FileKeyRef, fileKey, fileKeyRefOf, fileKeyRefs } from './file-key-ref.ts'
import { type FieldFacts, fieldValue, resourceValue } from './field-ref.ts'

type Kind = 'ConfigMap' | 'Secret'

/** What the environment of a container refers to, read. */
export interface EnvironmentSources {
  services: readonly Service[]
  /** Key: kind and name. Missing objects are missing here. */
  objects: ReadonlyMap<string, Record<string, string>>
  /** Volume and path, as {@link fileKey} names them → text. Missing files are missing here. */
  files?: ReadonlyMap<string, string>
}

const keyOf = (kind: Kind, name: string): string => `${kind}/${name}`

/** So long the API server may take to tell what an environment refers to, in milliseconds. */
const longestReadMs = 5000

/** @throws ContainerConfigError when it took too long: the container is tried again */
async function readInTime<T>(reading: Promise<T>, what: 'services' | 'configmap' | 'secret'): Promise<T> {
  try {
    return await reading
  } catch (error) {
    if ((error as Error).name !== 'TimeoutError') throw error
    throw new ContainerConfigError(
      what === 'services'
        ? 'services have not yet been read at least once, cannot construct envvars'
        : `failed to sync ${what} cache: timed out waiting for the condition`,
    )
  }
}

/** Larger files of variables are not read. */
const largestFile = 1 << 20
const longestKey = 128
const longestValue = 32 << 10

/** Reads all ConfigMaps and Secrets that the environment refers to, at the same time, and the Services. */
export async function readEnvironmentSources(
  pod: Pod,
  container: Container,
  source: ObjectSource,
  volumes: ReadonlyMap<string, string>,
  signal: AbortSignal = AbortSignal.timeout(longestReadMs),
): Promise<EnvironmentSources> {
  const namespace = pod.metadata?.namespace ?? 'default'
  const wanted = new Map<string, [Kind, string]>()
  for (const [kind, name] of references(container)) wanted.set(keyOf(kind, name), [kind, name])
  // Static pods begin without an API server: it may be one of them.
  const readServices = async () =>
    isStatic(pod) ? source.knownServices() : readInTime(source.services(signal), 'services')
  const readObjects = Promise.all(
    [...wanted].map(async ([key, [kind, name]]): Promise<[string, Record<string, string> | undefined]> => [
      key,
      kind === 'ConfigMap'
        ? configMapData(await readInTime(source.configMap(namespace, name, signal), 'configmap'))
        : secretData(await readInTime(source.secret(namespace, name, signal), 'secret')),
    ]),
  )
  const [services, read] = await Promise.all([readServices(), readObjects])
  const objects = new Map(
    read.flatMap(([key, data]): [string, Record<string, string>][] => (data ? [[key, data]] : [])),
  )
  return { services, objects, files: readFiles(container, volumes) }
}

/** @throws ContainerConfigError for a volume that the pod does not have, or a file that cannot be read */
function readFiles(container: Container, volumes: ReadonlyMap<string, string>): Map<string, string> {
  const files = new Map<string, string>()
  for (const ref of fileKeyRefs(container)) {
    const folder = volumes.get(ref.volumeName)
    if (folder === undefined) {
      throw new ContainerConfigError(`cannot find the volume "${ref.volumeName}" referenced by FileKeyRef`)
    }
    let text: string | undefined
    try {
      text = readSubPath(folder, ref.path, largestFile)
    } catch (error) {
      throw new ContainerConfigError(`couldn't parse env file: ${(error as Error).message}`)
    }
    if (text !== undefined) files.set(fileKey(ref), text)
  }
  return files
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
  const fileRef = fileKeyRefOf({ valueFrom })
  if (fileRef) return valueInFile(fileRef, sources)
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

function valueInFile(ref: FileKeyRef, { files }: EnvironmentSources): string | undefined {
  const { key, path, optional = false } = ref
  if (key.length > longestKey) {
    throw new ContainerConfigError(`environment variable key exceeds maximum length of ${longestKey} characters`)
  }
  const text = files?.get(fileKey(ref))
  let value: string | undefined
  try {
    value = text === undefined ? undefined : valueInEnvFile(text, key)
  } catch (error) {
    throw new ContainerConfigError(`couldn't parse env file: ${(error as Error).message}`)
  }
  if (value !== undefined && Buffer.byteLength(value) > longestValue) {
    throw new ContainerConfigError('environment variable value exceeds maximum size of 32KB')
  }
  if (value === undefined && !optional) {
    throw new ContainerConfigError(`environment variable key "${key}" not found in file "${path}"`)
  }
  return value
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
