// The page's words in each language, and putting them where they belong.

const WORDS = {
  en: {
    skip: "Skip to the message field",
    newChat: "New chat",
    conversations: "Conversations",
    conversation: "Conversation",
    close: "Close",
    settings: "Settings",
    message: "Message",
    placeholder: "Write a message",
    send: "Send",
    stop: "Stop",
    language: "Language",
    theme: "Appearance",
    themeAuto: "As the system",
    themeLight: "Light",
    themeDark: "Dark",
    modelName: "Model",
    system: "Instructions for the model",
    temperature: "Temperature (0: always the likeliest)",
    topP: "Top-p (1: off)",
    topK: "Top-k (0: off)",
    minP: "Min-p (0: off)",
    maxTokens: "Most tokens of an answer",
    noLimit: "as the context allows",
    seed: "Seed",
    random: "random",
    key: "API key, if the server asks for one",
    deleteAll: "Delete all conversations",
    sureAll: "Delete all conversations in this browser?",
    done: "Done",
    remove: "Delete",
    sureOne: "Delete this conversation?",
    copy: "Copy",
    copied: "Copied",
    edit: "Edit",
    retry: "Try again",
    save: "Send again",
    cancel: "Cancel",
    you: "You",
    thinking: "…",
    stopped: "stopped",
    cut: "cut off at the limit",
    speed: "tokens/s",
    tokens: "tokens",
    hello: "What shall we talk about?",
    private: "Conversations stay in this browser, and the model runs on this server.",
    lost: "The server cannot be reached.",
    full: "This browser has no room for more conversations; delete some.",
    examples: ["Tell me a story about a fox and a lantern.", "What is a ternary weight?", "Tell me a riddle."],
  },
  zh: {
    skip: "跳到消息输入框",
    newChat: "新对话",
    conversations: "对话列表",
    conversation: "对话内容",
    close: "关闭",
    settings: "设置",
    message: "消息",
    placeholder: "输入消息",
    send: "发送",
    stop: "停止",
    language: "语言",
    theme: "外观",
    themeAuto: "跟随系统",
    themeLight: "浅色",
    themeDark: "深色",
    modelName: "模型",
    system: "给模型的指示",
    temperature: "温度（0：总选最可能的词）",
    topP: "Top-p（1：关闭）",
    topK: "Top-k（0：关闭）",
    minP: "Min-p（0：关闭）",
    maxTokens: "回答的最大词元数",
    noLimit: "以上下文为限",
    seed: "随机种子",
    random: "随机",
    key: "API 密钥（服务器要求时填写）",
    deleteAll: "删除所有对话",
    sureAll: "删除此浏览器中的所有对话？",
    done: "完成",
    remove: "删除",
    sureOne: "删除这个对话？",
    copy: "复制",
    copied: "已复制",
    edit: "编辑",
    retry: "重新回答",
    save: "重新发送",
    cancel: "取消",
    you: "你",
    thinking: "…",
    stopped: "已停止",
    cut: "达到上限，已截断",
    speed: "词元/秒",
    tokens: "词元",
    hello: "聊点什么？",
    private: "对话只保存在此浏览器中，模型在这台服务器上运行。",
    lost: "无法连接服务器。",
    full: "浏览器的存储空间已满，请删除一些对话。",
    examples: ["Tell me a story about a fox and a lantern.", "What is a ternary weight?", "你好！"],
  },
};

let language = "en";

/** The word of a name in the language of the page. */
export function word(name) {
  return WORDS[language][name] ?? WORDS.en[name];
}

/** The language that the browser prefers. */
export function preferred() {
  return navigator.languages.find((tag) => /^(en|zh)\b/.test(tag))?.startsWith("zh") ? "zh" : "en";
}

/** Writes the page in a language. */
export function speak(chosen) {
  language = chosen in WORDS ? chosen : "en";
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = word(element.dataset.placeholder);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
}
