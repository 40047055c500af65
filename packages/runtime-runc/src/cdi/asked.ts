// Which CDI devices a container asks for.
import type { ContainerConfig } from '@nodelet/cri-api'
import { SpecError } from '../spec/errors.ts'
import { isQualified } from './schema.ts'

const PREFIX = 'cdi.k8s.io/'

/**
 * The devices of the field, then those of annotations, each once.
 *
 * @throws SpecError for a name that is not `VENDOR/CLASS=DEVICE`
 */
export function askedCdiDevices({
  CDIDevices,
  annotations,
}: Pick<ContainerConfig, 'CDIDevices' | 'annotations'>): string[] {
  const noted = Object.entries(annotations).flatMap(([key, value]) =>
    key.startsWith(PREFIX) ? value.split(',').map((name) => [name, `annotation ${key}`] as const) : [],
  )
  const asked = [...CDIDevices.map((device) => [device.name, 'CDI_devices'] as const), ...noted]
  for (const [name, where] of asked) {
    if (!isQualified(name)) throw new SpecError(`CDI device "${name}" in ${where}: name it VENDOR/CLASS=DEVICE`)
  }
  return [...new Set(asked.map(([name]) => name))]
}
