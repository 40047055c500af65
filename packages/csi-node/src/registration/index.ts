// Plugin registration, as both sides need it: kubelets call it, plugins of any type serve it.
export {
  PluginInfo,
  RegistrationClient,
  type RegistrationServer,
  RegistrationService,
  type RegistrationStatus,
} from '../gen/pluginregistration.ts'
export { listenOn } from './socket.ts'
export { registrationServer, serveRegistration } from './serve.ts'
export type { RegistrationOptions } from './serve.ts'
