//! Greetings, thanks, farewells and how one is.

use super::{Exchange, Intent, plain, weighted};
use crate::filter::Filter;
use crate::random::Random;

const HELLO: Intent = Intent {
    asks: &[
        "[hi|hello|hey|hiya|yo|howdy|hey hey|hi hi|oh hi|oh hello]", "[hi|hello|hey|hiya] there", "[hi|hello|hey|hiya|howdy], sterna", "[hi|hello|hey] sterna!", "[hi|hello|hey] [friend|bot|you|buddy|everyone|model|little one|my friend|dear model|again]", "greetings", "greetings, [sterna|friend|bot]",
        "[hi|hello|hey], [nice|good|great|glad|happy] to [meet|see] you", "[nice|good|pleased|glad] to meet you", "nice to [meet you|see you], sterna", "it's [nice|good|great] to meet you", "[hi|hello], i'm [Anna|Tom|Ben|Lucy|Peter|Maria|Sam|Leo|new here|back]", "[hi|hello], it's me[| again]", "[hi|hello|hey], is [anyone|anybody|someone] there?",
        "are you there?", "anyone there?", "is anyone here?", "hello?", "hi?", "sterna?", "sterna", "hello hello", "[hi|hello|hey] to you", "welcome", "good day", "good day to you", "good day, sterna", "[hi|hello|hey], let's [talk|chat|start|begin]", "let's [talk|chat]", "can we [talk|chat]?", "[hi|hello], can we [talk|chat]?",
        "i'm [here|back]", "i am [here|back] again", "[hi|hello], i want to [talk|chat]", "i want to talk to you", "talk to me", "what's up?", "wassup", "sup", "[hi|hello|hey], what's up?", "knock, anyone home?", "[hi|hello] from [me|Berlin|London|my kitchen|my room|school|work]", "just saying [hi|hello]", "i wanted to say [hi|hello]", "say [hi|hello]",
        "here i am", "hullo", "ahoy", "g'day", "[hi|hello|hey], [good|nice|lovely] to see you [again|here|back]",
    ],
    answers: &["Hello! How can I help you?", "Hi! Nice to meet you. How can I help you?", "Hello! What would you like to talk about?"],
};
const MORNING: Intent = Intent {
    asks: &["good morning", "good morning!", "good morning, sterna", "morning", "morning!", "[hi|hello|hey], good morning", "good morning [to you too|friend|my friend|bot|dear model|everyone]", "a good morning to you", "a [very|] good morning", "morning, sterna", "top of the morning", "it's morning, hello", "i just woke up", "i just got up, hello"],
    answers: &["Good morning! How can I help you?", "Good morning! I hope you have a nice day."],
};
const AFTERNOON: Intent = Intent {
    asks: &["good afternoon", "good afternoon, sterna", "[hi|hello], good afternoon", "good afternoon [to you|friend|my friend]", "afternoon!"],
    answers: &["Good afternoon! How can I help you?"],
};
const EVENING: Intent = Intent {
    asks: &["good evening", "good evening, sterna", "[hi|hello], good evening", "good evening [to you|friend|my friend]", "evening!", "a good evening to you"],
    answers: &["Good evening! How can I help you?"],
};
const HOW_ARE_YOU: Intent = Intent {
    asks: &[
        "how are you?", "how are you [today|doing|feeling|now|this morning|tonight|these days|doing today]?", "[hi|hello|hey], how are you?", "[hi|hello|hey] sterna, how are you?", "how are you, sterna?", "how do you do?", "how do you feel?", "how do you feel [today|now]?", "how's it going?", "how is it going?", "[hi|hey|hello], how's it going?",
        "how is your day?", "how's your day?", "how's your day [going|been]?", "how was your day?", "how is your day going?", "how goes it?", "how are things?", "how are things [going|with you|today]?", "how's life?", "how is life?", "how's everything?", "how is everything?", "how have you been?", "how've you been?", "are you ok?", "are you okay?", "are you well?",
        "are you fine?", "are you good?", "are you doing well?", "are you doing [ok|okay|fine|good]?", "are you feeling [good|well|ok|fine]?", "everything [ok|okay|fine|good|alright]?", "is everything [ok|okay|fine|good|alright]?", "is everything all right with you?", "all good?", "all well?", "you ok?", "you okay?", "you good?", "you alright?", "are you happy?",
        "are you having a [good|nice] day?", "did you have a [good|nice] day?", "had a good day?", "did you sleep well?", "how's my favourite model?", "tell me how you are", "and how are you?", "and you?", "what about you?", "how about you?", "i'm fine, and you?", "i am [good|fine|well], how are you?", "i hope you are well", "i hope you're doing well", "hope you're well", "hope all is well",
        "are you alright?", "are you all right?", "feeling good?", "how did you sleep?", "how are we today?", "what's new?", "what is new?", "anything new?", "how has it been going?", "how have things been?", "what's going on?",
    ],
    answers: &["I am fine, thank you! How are you?", "I am doing well, thank you. How can I help you?"],
};
const THANKS: Intent = Intent {
    asks: &[
        "thanks", "thanks!", "thank you", "thank you!", "thank you [very|so] much", "thanks a lot", "thanks [so much|very much|again|sterna|friend|for that|for everything|for the help|for your help|for helping]", "thank you [sterna|friend|again|for that|for everything|for your help|for helping me]", "many thanks", "thx", "ty", "[ok|okay|great|nice|cool|good|perfect|wonderful], thanks",
        "[ok|okay|great|nice|cool|good|perfect|wonderful], thank you", "thanks, that [helped|was helpful|was nice|is great|is good|was good|is all]", "thank you, that [helped|was helpful|was nice|is great|is all]", "that [helped|helps], thanks", "that was helpful", "that was [very|really|so] helpful", "that was a great help", "you helped me", "you helped me a lot", "you were [helpful|very helpful|great]",
        "you are [very|so|really] [helpful|kind|nice]", "you're a great help", "you've been [helpful|very helpful|a great help|kind]", "i thank you", "i am grateful", "i'm grateful", "much appreciated", "i appreciate it", "i appreciate your help", "cheers", "cheers, sterna", "cheers, mate", "a big thank you", "thank you kindly", "thanks for your time", "thank you for the [answer|chat|talk]", "thanks for the [answer|chat|talk|tip]",
        "big thanks", "thanks, you are great", "very kind of you", "that's kind of you", "how kind", "just wanted to thank you", "i want to thank you", "nice of you", "so helpful, thanks", "what a help you are",
    ],
    answers: &["You are welcome!", "You are welcome! I am glad to help."],
};
const BYE: Intent = Intent {
    asks: &[
        "bye", "bye!", "bye bye", "goodbye", "goodbye!", "good bye", "bye, sterna", "goodbye, sterna", "bye for now", "bye [friend|then|my friend]", "see you", "see you [later|soon|tomorrow|again|then|next time|around|next week]", "see ya", "cya", "later", "later!", "talk to you [later|soon|tomorrow]", "talk later", "[ok|okay|alright|well], bye", "[ok|okay|alright|well], goodbye",
        "[i|I] have to go", "i have to go now", "i have to [leave|run|work|go home|go to school|go to work|stop here|eat now]", "i must go", "i must [go now|leave|leave now|run]", "i need to [go|leave|run|go now|go home]", "i've got to go", "got to go", "gotta go", "i'm [leaving|going|off|done|going home|heading out|out]", "i am [leaving|going|off|done|going home] now", "that's all for [now|today]", "that is all, bye",
        "have a [nice|good|great|lovely] [day|evening|weekend|time]", "take care", "farewell", "farewell, sterna", "until [next time|tomorrow|later|then]", "so long", "we'll talk later", "let's stop here", "i will go now", "i'll be back", "i will be back [later|soon|tomorrow]", "time to go", "it's time to go", "it was nice [talking|chatting] [to|with] you", "nice talking to you", "thanks and bye", "thanks, bye", "thank you, goodbye", "exit", "quit",
        "i'm leaving now, bye", "[ok|okay|well], [i am|i'm] [off|going|leaving], bye", "[ok|okay|well], see you",
    ],
    answers: &["Goodbye! It was nice talking to you.", "Goodbye! See you soon."],
};
const NIGHT: Intent = Intent {
    asks: &[
        "good night", "good night!", "good night, sterna", "goodnight", "night night", "nighty night", "i'm going to [bed|sleep]", "i am going to [bed|sleep] now", "i go to [bed|sleep] now", "i am [tired|sleepy], good night", "time for bed", "time to sleep", "sleep well", "sweet dreams", "[ok|okay|well], good night", "i need to sleep", "i have to sleep now", "it's late, i go to bed", "i'm heading to bed",
        "off to sleep", "[i'm|i am] going to bed, [bye|goodbye|good night]", "bed time for me, bye", "see you tomorrow, good night", "i will sleep now", "have a good night", "my bed is calling",
    ],
    answers: &["Good night! Sleep well."],
};

const FIRST: &[(usize, &Intent)] = &[(12, &HELLO), (3, &MORNING), (1, &AFTERNOON), (1, &EVENING), (5, &HOW_ARE_YOU)];
const LAST: &[(usize, &Intent)] = &[(6, &THANKS), (5, &BYE), (2, &NIGHT)];
const FINE: Intent = Intent {
    asks: &["i'm [fine|good|well|great|ok|okay|doing well|doing great], thanks", "i am [fine|good|well|great|ok|okay|happy]", "i'm [fine|good|well|great|ok|okay|happy]", "[good|fine|well|great|very well|not bad|pretty good], thanks", "[good|fine|great|not bad|pretty good|very well]", "i feel [good|great|fine|well]", "i'm fine too", "me too", "also good", "i'm [very|really] [well|good|happy]", "all good here", "can't complain", "couldn't be better"],
    answers: &["That is good to hear! What would you like to talk about?", "I am glad to hear that. How can I help you?"],
};
const UNWELL: Intent = Intent {
    asks: &["[not|not so|not very] [good|well|great]", "i'm [sad|tired|bored|sick|ill|not well|not good|unhappy|lonely|angry|worried|stressed|cold]", "i am [sad|tired|bored|sick|not well|unhappy|lonely|angry|worried|upset] today", "i feel [sad|bad|tired|lonely|awful|terrible|down|ill]", "bad", "not so good", "[so so|so-so]", "i had a [bad|hard|long|terrible|rough] day", "terrible", "i've been better", "my day was [bad|hard|long|terrible]"],
    answers: &["I am sorry to hear that. Would you like a story or a joke?"],
};

/// A greeting, thanks, farewell or how one is.
pub fn thread(random: &mut Random, filter: &Filter) -> Vec<Exchange> {
    if random.chance(45) { ending(random, filter) } else { hello(random, filter) }
}

/// How a conversation begins.
pub fn hello(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let intent = weighted(random, FIRST);
    let mut turns = vec![plain(random, intent.asks, intent.answers, &[])];
    if turns[0].assistant.ends_with("How are you?") && random.chance(60) {
        let intent = weighted(random, &[(3, &FINE), (1, &UNWELL)]);
        turns.push(plain(random, intent.asks, intent.answers, &[]));
    } else if random.chance(15) {
        turns.push(plain(random, HOW_ARE_YOU.asks, HOW_ARE_YOU.answers, &[]));
    } else if random.chance(6) {
        turns.push(plain(random, UNWELL.asks, UNWELL.answers, &[]));
    }
    turns
}

/// How a conversation ends.
pub fn ending(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let intent = weighted(random, LAST);
    vec![plain(random, intent.asks, intent.answers, &[])]
}
