// How an update changes the resources of a container.
import { LinuxContainerConfig, LinuxContainerResources } from '../gen/runtime.ts'

/** The stored part of the config with the fields of the update that are not zero; the others stay. */
export function mergeResources(
  stored: LinuxContainerConfig | undefined,
  update: LinuxContainerResources,
): LinuxContainerConfig {
  const isSet = (value: unknown) =>
    Array.isArray(value) ? value.length > 0 : typeof value === 'object' ? Object.keys(value ?? {}).length > 0 : !!value
  const changes = Object.fromEntries(Object.entries(update).filter(([, value]) => isSet(value)))
  const resources = LinuxContainerResources.fromPartial({ ...stored?.resources, ...structuredClone(changes) })
  return { ...LinuxContainerConfig.fromPartial(stored ?? {}), resources }
}
